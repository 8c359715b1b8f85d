"""Exact binomial intervals and rank statistics, shared by the studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact confidence interval of a rate of `hits` in `n`."""
    from scipy import stats

    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def rate(hits: Sequence[bool] | np.ndarray) -> str:
    """A rate as text: share, counts and 95 % interval."""
    n, k = len(hits), int(np.sum(hits))
    if not n:
        return "-"
    low, high = clopper_pearson(k, n)
    return f"{k / n:.3f} ({k}/{n}; {low:.3f}-{high:.3f})"


def auc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """The chance that a positive scores above a negative; ties count half."""
    p, n = np.asarray(positives)[:, None], np.asarray(negatives)[None]
    return float(((p > n) + 0.5 * (p == n)).mean())


def auc_interval(
    positives: Sequence[float], negatives: Sequence[float], draws: int = 2000
) -> tuple[float, float]:
    """A 95 % bootstrap interval of the AUC, resampling models."""
    generator = np.random.default_rng(0)
    p, n = np.asarray(positives), np.asarray(negatives)
    values = [auc(generator.choice(p, len(p)), generator.choice(n, len(n))) for _ in range(draws)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
