"""Rates, curves and intervals against numbers worked by hand, scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score, roc_curve

from mmbd.evaluation.metrics import (
    Rate,
    auc,
    auc_interval,
    brier,
    clopper_pearson,
    cross_entropy,
    partial_auc,
    roc,
    uniformity,
)

SCORES = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=20)


def test_exact_intervals_by_hand():
    # All of n: the lower end p has p ** n = 2.5 %. None of n: the upper end has (1 - p) ** n.
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1))
    assert clopper_pearson(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert clopper_pearson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="3 of 2"):
        clopper_pearson(3, 2)


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from([0.9, 0.95, 0.99]))
def test_exact_intervals_are_scipy_s(hits: int, n: int, level: float):
    hits = min(hits, n)
    found = stats.binomtest(hits, n).proportion_ci(level, method="exact")
    assert clopper_pearson(hits, n, level) == pytest.approx((found.low, found.high), abs=1e-9)


def test_rate():
    rate = Rate.of(3, 4)
    assert (rate.share, rate.low, rate.high) == pytest.approx((0.75, 0.19412, 0.99369), abs=1e-5)
    assert Rate.of(0, 0).share is None


def test_auc_by_hand():
    # Pairs: 3 beats 1 and 2; 2 beats 1 and ties 2: 3.5 of 4.
    assert auc([3, 2], [1, 2]) == 3.5 / 4
    assert roc([3, 2], [1, 2]) == ((0, 0), (0, 0.5), (0.5, 1), (1, 1))
    # Up to 0.25 the second segment has risen from 0.5 to 0.75.
    assert partial_auc([3, 2], [1, 2]) == pytest.approx(0.25 * (0.5 + 0.75) / 2)
    assert partial_auc([1], [0]) == 0.25
    assert partial_auc([0], [1]) == 0
    # No answer, on either side: tied below everything.
    assert auc([1, -math.inf], [0, -math.inf]) == (2 + 0 + 0.5) / 4


@given(SCORES, SCORES)
def test_curves_agree_with_scikit_learn(positives: list[float], negatives: list[float]):
    truths = [1] * len(positives) + [0] * len(negatives)
    scores = positives + negatives
    assert auc(positives, negatives) == pytest.approx(roc_auc_score(truths, scores))
    alarms, hits, _ = roc_curve(truths, scores, drop_intermediate=False)
    assert np.allclose(roc(positives, negatives), np.stack((alarms, hits), 1))
    # scikit-learn standardises by McClish; undone here.
    low, high = 0.25**2 / 2, 0.25
    standard = roc_auc_score(truths, scores, max_fpr=0.25)
    raw = low + (2 * standard - 1) * (high - low)
    assert partial_auc(positives, negatives) == pytest.approx(raw)


@given(SCORES, SCORES)
def test_curves_in_general(positives: list[float], negatives: list[float]):
    area = auc(positives, negatives)
    assert area == pytest.approx(1 - auc(negatives, positives))
    assert area == pytest.approx(auc(np.exp(positives), np.exp(negatives)))
    assert partial_auc(positives, negatives, 1.0) == pytest.approx(area)
    corners = roc(positives, negatives)
    assert corners[0] == (0, 0)
    assert corners[-1] == (1, 1)
    assert all(x0 <= x1 and y0 <= y1 for (x0, y0), (x1, y1) in zip(corners, corners[1:]))  # noqa: B905, RUF007
    low, high = auc_interval(area, len(positives), len(negatives))
    assert 0 <= low <= area <= high <= 1
    assert low < high


def test_interval_of_an_auc():
    # At the ends of the interval the distance is z standard errors, with the variance there.
    for value, m, n in ((0.9, 20, 30), (1.0, 10, 10), (0.5, 5, 50)):
        for end in auc_interval(value, m, n):
            if end in (0, 1):
                continue
            many = (m + n) / 2 - 1
            variance = end * (1 - end) * (1 + many * (1 - end) / (2 - end) + many * end / (1 + end)) / (m * n)
            assert abs(value - end) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)
    # A perfect AUC of ten and ten models is no certainty.
    assert auc_interval(1.0, 10, 10)[0] == pytest.approx(0.8002, abs=1e-3)
    low, high = auc_interval(0.0, 10, 10)
    assert (low, high) == pytest.approx((0, 1 - 0.8002), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.7, 0.9, 0.98])
@pytest.mark.parametrize("sizes", [(10, 10), (20, 40), (80, 80)])
def test_the_interval_covers_the_truth(truth: float, sizes: tuple[int, int]):
    draw = np.random.default_rng(0)
    shift = stats.norm.ppf(truth) * math.sqrt(2)
    covered = []
    for _ in range(1000):
        area = auc(draw.normal(shift, 1, sizes[0]), draw.normal(0, 1, sizes[1]))
        low, high = auc_interval(area, *sizes)
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.93


def test_cross_entropy_and_brier_by_hand():
    found = cross_entropy([0.5, 0.8], [True, True])
    losses = [math.log(2), -math.log(0.8)]
    half = 1.96 * np.std(losses) / math.sqrt(2)
    assert found.value == pytest.approx(sum(losses) / 2)
    assert (found.high - found.value) == pytest.approx(half)
    assert brier([0.5, 0.8, 0.1], [True, True, False]) == pytest.approx((0.25 + 0.04 + 0.01) / 3)
    # Certain and wrong costs a lot, and not more than that.
    assert cross_entropy([0.0, 1.0], [True, False]).value == pytest.approx(-math.log(1e-12), 1e-4)
    with pytest.raises(ValueError, match="between 0 and 1"):
        brier([1.5], [True])
    with pytest.raises(ValueError, match="for"):
        brier([], [])


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1))
def test_scores_of_probabilities_are_scikit_learn_s(given_: list[tuple[float, bool]]):
    probabilities, truths = zip(*given_, strict=True)
    expected = log_loss(truths, probabilities, labels=[False, True])
    assert cross_entropy(probabilities, truths).value == pytest.approx(expected)
    if len(set(truths)) == 2:
        assert brier(probabilities, truths) == pytest.approx(brier_score_loss(truths, probabilities))


def test_uniformity():
    assert uniformity([]) is None
    found = uniformity([0.5])
    assert found is not None
    assert (found.distance, found.p_value, found.n) == (0.5, pytest.approx(1), 1)
    even = uniformity(np.linspace(0.05, 0.95, 10))
    crowded = uniformity([0.01] * 10)
    assert even is not None
    assert crowded is not None
    assert (even.distance, crowded.distance) == pytest.approx((0.05, 0.99))
    assert crowded.p_value < 1e-10 < 0.99 < even.p_value
    with pytest.raises(ValueError, match="p-values"):
        uniformity([1.2])


@pytest.mark.parametrize("scores", [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_curves_need_scores(scores):
    with pytest.raises(ValueError, match=r"at least one|NaN"):
        auc(*scores)
