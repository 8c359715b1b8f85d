"""The paper's p-value against known vectors, in the far tail, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbd.null.paper import authors, order_statistic, paper

OTHERS = [31, 35, 29, 33, 40, 38, 36, 30, 34]
SKEWED = [20, 38, 39, 39.5, 40, 40.2, 40.4, 40.5, 40.6]


@pytest.mark.parametrize(
    ("largest", "exponent", "free", "expected"),
    [(45, 10, True, 0.0525), (45, 9, True, 0.0474), (45, 10, False, 0.0170), (120, 10, True, 3.5e-24)],
)
def test_known_vectors(largest, exponent, free, expected):
    answer = order_statistic([*OTHERS, largest], null="x", exponent=exponent, free_location=free)
    assert answer.p_value == pytest.approx(expected, rel=0.01)
    assert answer.log10 == pytest.approx(math.log10(answer.p_value), abs=1e-9)


def test_the_fit_is_told():
    free = order_statistic([*OTHERS, 45], null="x", exponent=10, free_location=True).parameters
    assert [free[key] for key in ("shape", "loc", "scale")] == pytest.approx([8.193, 23.95, 1.217], rel=1e-3)
    fixed = paper([*OTHERS, 45]).parameters
    assert [fixed[key] for key in ("shape", "loc", "scale")] == pytest.approx([96.81, 0, 0.3512], rel=1e-3)


def test_the_two_variants_differ_in_exponent_and_location():
    assert paper([*OTHERS, 45]).parameters["exponent"] == 9
    assert authors([*OTHERS, 45]).parameters["exponent"] == 10
    assert authors([*OTHERS, 45]).p_value == pytest.approx(0.0525, rel=0.01)
    assert authors([*SKEWED, 43]).p_value == pytest.approx(0.916, abs=0.005)


@pytest.mark.parametrize("largest", [400, 2_000, 1e5])
def test_log10_goes_on_where_p_underflows(largest):
    from scipy import stats

    answer = paper([*OTHERS, largest])
    shape, scale = answer.parameters["shape"], answer.parameters["scale"]
    x = largest / scale
    # The leading term of the tail, with its first correction, bounds it from both sides.
    leading = (shape - 1) * math.log(x) - x - math.lgamma(shape)
    low, high = leading, leading - math.log1p(-(shape - 1) / x)
    assert low <= answer.log10 * math.log(10) - math.log(9) <= high + 1e-9
    if stats.gamma.sf(largest, shape, 0, scale) > 0:
        assert answer.p_value > 0
    assert answer.log10 < -100


@pytest.mark.parametrize(
    ("statistics", "why"),
    [
        ([30, 45], "too few"),
        ([30] * 9 + [45], "equal"),
        ([*OTHERS, math.nan], "finite"),
        ([*OTHERS, math.inf], "finite"),
    ],
)
def test_no_value_rather_than_an_attack(statistics, why):
    for null in (paper, authors):
        answer = null(statistics)
        assert answer.p_value is None
        assert answer.log10 is None
        assert why in (answer.reason or "")


def test_a_negative_statistic_has_no_gamma_at_location_zero():
    assert "not positive" in (paper([*OTHERS, 45, -1]).reason or "")
    assert authors([*OTHERS, 45, -1]).p_value is not None


@given(st.floats(0.1, 100), st.permutations(list(range(10))))
def test_scale_and_order_change_nothing_at_location_zero(scale, order):
    statistics = [*OTHERS, 45]
    moved = [scale * statistics[index] for index in order]
    assert paper(moved).p_value == pytest.approx(paper(statistics).p_value, rel=1e-4)


def test_the_paper_s_test_is_not_calibrated():
    # Dropping the maximum truncates the null: a nominal 5 % is about 25 % at K = 10.
    generator = np.random.default_rng(0)
    answers = [paper(generator.gamma(25, size=10).tolist()).p_value for _ in range(400)]
    assert 0.18 <= np.mean([answer < 0.05 for answer in answers]) <= 0.34
