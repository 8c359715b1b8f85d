"""Thresholds and p-values from the scores of clean inputs: false alarms are what is promised."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmbd.workflows.conformal import p_values, threshold

rates = st.integers(1, 99).map(lambda percent: percent / 100)
# Few different numbers, so that there are ties.
some = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30).map(torch.tensor)


@given(scores=some, rate=rates)
def test_each_score_in_turn_is_flagged_at_most_as_often_as_said(scores: Tensor, rate: float):
    """Split conformal prediction, exactly: of n + 1 scores, which one is new does not matter."""
    flagged = 0
    for i in range(len(scores)):
        others = torch.cat((scores[:i], scores[i + 1 :]))
        flagged += bool(scores[i] > threshold(others, rate))
    exact = Fraction(str(rate)) * len(scores)
    assert flagged <= exact
    if len(scores.unique()) == len(scores):
        assert flagged == math.floor(exact)


@given(calibration=some, scores=some, rate=rates)
def test_flags_are_what_p_values_say(calibration: Tensor, scores: Tensor, rate: float):
    calibration = calibration.sort().values
    found = p_values(calibration, scores)
    counted = [(1 + sum(c >= s for c in calibration.tolist())) for s in scores.tolist()]
    assert found.tolist() == [count / (len(calibration) + 1) for count in counted]
    exact = [Fraction(count, len(calibration) + 1) <= Fraction(str(rate)) for count in counted]
    assert (scores > threshold(calibration, rate)).tolist() == exact


@given(calibration=some, rate=rates, seed=st.integers(0, 99))
def test_the_order_of_the_calibration_scores_does_not_matter(calibration, rate, seed):
    order = torch.randperm(len(calibration), generator=torch.Generator().manual_seed(seed))
    assert threshold(calibration, rate) == threshold(calibration[order], rate)


@pytest.mark.parametrize("rate", [0.05, 0.29])
def test_false_alarms_in_a_simulation(rate):
    """Uniform scores, 99 for calibration: the mean rate is exact, that of each set Beta."""
    generator = torch.Generator().manual_seed(0)
    calibration = torch.rand(4000, 99, generator=generator, dtype=torch.float64)
    thresholds = torch.tensor([threshold(scores, rate) for scores in calibration])
    alarms = 1 - thresholds  # the share of new uniform scores above
    deviation = math.sqrt(rate * (1 - rate) / 101)
    assert float(alarms.mean()) == pytest.approx(rate, abs=4 * deviation / math.sqrt(4000))
    assert float(alarms.std()) == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [(19, 0.05, 19), (18, 0.05, None), (99, 0.29, 71), (99, 0.07, 93), (1, 0.5, 1), (1, 0.49, None)],
)
def test_which_of_the_scores_is_the_threshold(count, rate, rank):
    scores = torch.arange(1.0, count + 1)
    assert threshold(scores, rate) == (math.inf if rank is None else rank)
