"""Intervals of rates: what so many hits in so many tries say of the rate behind them."""

from __future__ import annotations

from mmbd.base.extras import room_for_scipy


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact confidence interval of a rate of `hits` in `n`; (0, 1) where n = 0.

    Clopper and Pearson, Biometrika 26 (1934): it covers the truth at least `level` of the time.
    """
    room_for_scipy()
    from scipy import stats

    if not 0 <= hits <= n:
        raise ValueError(f"hits must be between 0 and n, got {hits} of {n}")
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high
