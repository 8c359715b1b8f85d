"""Rates, ROC curves and their honest intervals: the arithmetic of every evaluation table.

Everything here takes plain numbers. Scores are "the higher, the more suspicious"; -inf stands for
a model without an answer, which no threshold ever flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmbd.base.intervals import clopper_pearson

PARTIAL = 0.25  # the false-positive rate that the paper's partial AUC ends at (figure 4b)
EPSILON = 1e-12  # TrojAI clips probabilities to [EPSILON, 1 - EPSILON]
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Rate:
    """`hits` of `n`, with the exact 95 % interval; of nothing (n = 0) nothing is known."""

    hits: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, n: int) -> Rate:
        """The rate with its interval."""
        return cls(hits, n, *clopper_pearson(hits, n))

    @property
    def share(self) -> float | None:
        """Hits over n; None without models."""
        return self.hits / self.n if self.n else None


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Uniformity:
    """Kolmogorov-Smirnov against the uniform: the largest distance, its p-value, and n."""

    distance: float
    p_value: float
    n: int


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The chance that a backdoored model scores above a clean one; ties count half.

    `positives` and `negatives` are their scores, at least one each (Mann and Whitney's U over the
    number of pairs).
    """
    from scipy import stats

    first, second = _scores(positives, negatives)
    ranks = stats.rankdata(np.concatenate((first, second)))
    above = float(ranks[: len(first)].sum()) - len(first) * (len(first) + 1) / 2
    return above / (len(first) * len(second))


def auc_interval(value: float, positives: int, negatives: int, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval of an AUC of `value` from so many positives and negatives.

    All theta with |value - theta| <= z sqrt(V(theta)), where V is Hanley and McNeil's variance
    under exponential scores: method 5 of Newcombe, Statistics in Medicine 25 (2006) 559-573. The
    intervals of DeLong and of Hanley and McNeil themselves have no width at an AUC of 1, just
    where a detector that works ends up; this one does.
    """
    from scipy import optimize, stats

    if not 0 <= value <= 1 or min(positives, negatives) < 1:
        raise ValueError(f"expected an AUC of at least one model each, got {value}")
    z, size = float(stats.norm.ppf((1 + level) / 2)), (positives + negatives) / 2 - 1

    def outside(theta: float) -> float:
        shape = 1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (value - theta) ** 2 - z**2 * theta * (1 - theta) * shape / (positives * negatives)

    inside = min(max(value, EPSILON), 1 - EPSILON)  # 0 and 1 are roots of their own
    low = 0.0 if value == 0 else float(optimize.root_scalar(outside, bracket=(0.0, inside)).root)
    high = 1.0 if value == 1 else float(optimize.root_scalar(outside, bracket=(inside, 1.0)).root)
    return low, high


def roc(positives: ArrayLike, negatives: ArrayLike) -> tuple[tuple[float, float], ...]:
    """The corners of the ROC curve from (0, 0) to (1, 1): (false, true) positive rates.

    Equal scores are one step, whose straight line between corners counts ties half.
    """
    first, second = _scores(positives, negatives)
    scores = np.concatenate((first, second))
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(scores[order][:-1] != scores[order][1:], True))
    hits = np.cumsum(order < len(first))[ends]
    alarms = ends + 1 - hits
    found = [(0.0, 0.0)]
    rates = zip(alarms.tolist(), hits.tolist(), strict=True)
    found += [(alarm / len(second), hit / len(first)) for alarm, hit in rates]
    return tuple(found)


def partial_auc(positives: ArrayLike, negatives: ArrayLike, limit: float = PARTIAL) -> float:
    """The area under the ROC curve up to a false-positive rate of `limit`; raw, at most `limit`."""
    if not 0 < limit <= 1:
        raise ValueError(f"limit must be in (0, 1], got {limit}")
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(roc(positives, negatives)):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area


def cross_entropy(probabilities: ArrayLike, truths: Sequence[bool]) -> Estimate:
    """The mean of -log of the probability given to the truth, in nats, as TrojAI scores it.

    Probabilities are clipped by 1e-12; the interval is 1.96 standard deviations over sqrt(n), the
    leaderboard's. Always saying 1/2 scores 0.693.
    """
    given, true = _probabilities(probabilities, truths)
    given = given.clip(EPSILON, 1 - EPSILON)
    losses = -np.log(np.where(true, given, 1 - given))
    value, half = float(losses.mean()), NORMAL_95 * float(losses.std()) / math.sqrt(len(losses))
    return Estimate(value, max(value - half, 0.0), value + half)


def brier(probabilities: ArrayLike, truths: Sequence[bool]) -> float:
    """The mean squared distance of probability and truth; always saying 1/2 scores 0.25."""
    given, true = _probabilities(probabilities, truths)
    return float(((given - true) ** 2).mean())


def uniformity(p_values: ArrayLike) -> Uniformity | None:
    """Whether p-values of clean models are uniform, as they should be; None without any.

    The exact two-sided Kolmogorov-Smirnov test. p-values that come in steps (a bootstrap's, or
    those of a few reference models) look a little less uniform than they are.
    """
    from scipy import stats

    values = np.asarray(p_values, dtype=float)
    if not len(values):
        return None
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values must be between 0 and 1")
    found = stats.kstest(values, "uniform")
    return Uniformity(float(found.statistic), float(found.pvalue), len(values))


def _scores(positives: ArrayLike, negatives: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.asarray(scores, dtype=float) for scores in (positives, negatives))
    if not len(first) or not len(second):
        raise ValueError("an ROC curve needs at least one backdoored and one clean model")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("a score is NaN; give -inf for a model without an answer")
    return first, second


def _probabilities(
    probabilities: ArrayLike, truths: Sequence[bool]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    given, true = np.asarray(probabilities, dtype=float), np.asarray(truths, dtype=bool)
    if given.shape != true.shape or not len(given):
        raise ValueError(f"{given.shape} probabilities for {true.shape} models")
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError("probabilities must be between 0 and 1")
    return given, true
