"""What a p-value says about a model, as a probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from mmbd.evaluation.metrics import cross_entropy
from mmbd.evaluation.probabilities import empirical, posterior


def test_it_is_bayes_rule_with_a_beta_alternative():
    shape = posterior(1.0) / (1 - posterior(1.0))  # the density at 1
    assert integrate.quad(stats.beta(shape, 1).pdf, 0.2, 1)[0] == pytest.approx(1 - 0.2**shape)
    for p in (1e-8, 1e-3, 0.05, 0.3):
        density = stats.beta(shape, 1).pdf(p)
        assert posterior(p) == pytest.approx(density / (density + 1))


def test_a_toss_up_at_five_percent_and_never_sure_of_clean():
    assert posterior(0.05) == pytest.approx(0.5)
    assert posterior(1.0) == pytest.approx(0.0564, abs=1e-4)
    assert posterior(0.0) == 1
    assert posterior(5e-324) > 1 - 1e-12
    with pytest.raises(ValueError, match="between 0 and 1"):
        posterior(-0.1)


@given(st.floats(0, 1), st.floats(0, 1))
def test_smaller_p_values_speak_for_a_backdoor(first: float, second: float):
    low, high = sorted((first, second))
    assert 0 < posterior(high) <= posterior(low) <= 1


def test_it_is_fairer_to_clean_models_than_one_minus_p():
    uniform = np.linspace(0.0005, 0.9995, 1000)
    clean = [False] * len(uniform)
    ours = cross_entropy([posterior(p) for p in uniform], clean).value
    naive = cross_entropy(1 - uniform, clean).value
    assert ours < 0.25 < math.log(2) < naive


def test_empirical():
    assert empirical(5.0, [1.0, 2.0, 3.0]) == 1 / 4
    assert empirical(2.0, [1.0, 2.0, 3.0]) == 3 / 4
    assert empirical(0.0, []) == 1


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30, unique=True))
def test_clean_models_share_their_ranks_evenly(scores: list[float]):
    # Each against the others: 1/n, 2/n, ..., 1.
    found = sorted(empirical(s, [o for o in scores if o != s]) for s in scores)
    assert np.allclose(found, np.arange(1, len(scores) + 1) / len(scores))
