"""PT-RED's p-value on two levels against a direct computation, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mmbd.null.pairs import FEWEST, two_levels


def matrix(classes: int = 6, *, seed: int = 0, **planted: float) -> list[list[float | None]]:
    """Gamma numbers for every pair, None on the diagonal; `s3t1=9.0` plants one."""
    drawn = np.random.default_rng(seed).gamma(20, 0.05, size=(classes, classes))
    values = [
        [None if source == target else float(drawn[source, target]) for target in range(classes)]
        for source in range(classes)
    ]
    for place, value in planted.items():
        source, target = (int(number) for number in place[1:].split("t"))
        values[source][target] = value
    return values


def directly(values: list[list[float | None]]) -> tuple[list[float], float]:
    classes = len(values)
    table = np.array([[math.nan if value is None else value for value in row] for row in values])
    by_target = []
    for target in range(classes):
        others = np.delete(table, target, axis=1)
        fit = stats.gamma.fit(np.sort(others[~np.isnan(others)]))
        by_target.append(1 - stats.gamma.cdf(np.nanmax(table[:, target]), *fit) ** (classes - 1))
    return by_target, 1 - (1 - min(by_target)) ** classes


@pytest.mark.parametrize(("seed", "planted"), [(0, {}), (1, {"s3t1": 1.9}), (2, {"s0t5": 2.2, "s1t5": 2.0})])
def test_both_levels_are_those_of_a_direct_computation(seed, planted):
    values = matrix(seed=seed, **planted)
    by_target, p_value = directly(values)
    answer = two_levels(values)
    assert [10**log for log in answer.log10] == pytest.approx(by_target, rel=1e-6)
    assert answer.test.p_value == pytest.approx(p_value, rel=1e-6)
    assert answer.test.log10 == pytest.approx(math.log10(p_value), abs=1e-6)
    assert answer.test.parameters["exponent"] == 6
    assert answer.test.parameters["sources"] == 5


def test_the_planted_pair_names_source_and_target():
    answer = two_levels(matrix(s3t1=4.0))
    assert min(range(6), key=lambda target: answer.log10[target]) == 1
    assert answer.sources[1] == 3
    assert answer.test.p_value < 1e-6


@pytest.mark.parametrize("largest", [40.0, 4000.0])
def test_logarithms_go_on_where_the_chances_underflow(largest):
    values = matrix(s3t1=largest)
    answer = two_levels(values)
    fit = [answer.test.parameters[name] for name in ("shape", "loc", "scale")]
    # So far out, both levels only multiply the tail: by K - 1 sources and K targets.
    tail = stats.gamma.logsf(largest, fit[0], fit[1], fit[2])
    if math.isfinite(tail):
        assert answer.log10[1] == pytest.approx((tail + math.log(5)) / math.log(10), rel=1e-9)
    x = (largest - fit[1]) / fit[2]
    leading = (fit[0] - 1) * math.log(x) - x - math.lgamma(fit[0])
    assert answer.test.log10 == pytest.approx((leading + math.log(5 * 6)) / math.log(10), rel=1e-2)
    assert answer.test.log10 < -100


def test_pairs_without_a_number_are_left_out():
    values = matrix(s3t1=4.0)
    for source in range(6):
        values[source][4] = None
    values[2][1] = None
    answer = two_levels(values)
    assert (answer.log10[4], answer.sources[4]) == (None, None)
    assert answer.sources[1] == 3
    assert answer.test.p_value < 1e-6


def test_no_p_value_where_there_is_too_little_to_fit():
    few = matrix(4)
    assert two_levels(few).test.p_value is not None  # nine pairs of other targets each
    few[0][1] = None
    few[0][2] = None
    answer = two_levels(few)
    assert answer.log10[0] is None  # seven are left for it, for the targets 1 and 2 eight
    assert answer.log10[1] is None
    assert answer.log10[3] is None
    assert answer.test.p_value is None
    assert f"at least {FEWEST}" in answer.test.reason
    equal = [[None if source == target else 2.0 for target in range(5)] for source in range(5)]
    assert "equal" in two_levels(equal).test.reason
    nothing = [[None] * 5 for _ in range(5)]
    assert "no pair" in two_levels(nothing).test.reason


def test_bounds_count_among_the_others_and_never_speak_for_their_target():
    values, bounds = matrix(s3t1=4.0), [[None] * 6 for _ in range(6)]
    values[2] = [None] * 6  # what did not get there
    bounds[2] = [None if target == 2 else 5.0 for target in range(6)]
    known = two_levels(values)
    careful = two_levels(values, bounds)
    assert careful.sources == known.sources
    assert 2 not in careful.sources
    assert careful.test.p_value > known.test.p_value
    assert two_levels(values, [[None] * 6] * 6) == known
