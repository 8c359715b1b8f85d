"""A calibrated p-value from one model's own statistics: a parametric bootstrap of a gap ratio.

The test statistic is the gap between the logarithms of the two largest statistics, in units of
the mean gap among the rest of the upper half. It ignores the lower half (searches that got stuck)
and is free of the scale and spread of the statistics, so its null depends on their number and
shape only. The shape is matched by the skewness of the logarithms: a log-Gamma variable, whose
limit at zero skewness is the normal, so that Gamma and log-normal statistics are both covered.
Measured size in `benchmarks/results/null_size.json`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbd.base.extras import room_for_scipy
from mmbd.null.null import Null, margins_of
from mmbd.null.settings import MIN_CLASSES
from mmbd.results.finding import Test

Array = NDArray[np.float64]

SHAPES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0)
# A statistic this far below the median, in upper quartile ranges, tells of a stuck search.
STUCK = 4.0
# Random numbers drawn for one p-value.
MOST_NUMBERS = 2_500_000


def gap_ratio(logarithms: Array) -> Array:
    """The top gap over the mean of the other gaps in the upper half, (n, K) -> (n,)."""
    ordered = -np.sort(-logarithms, axis=1)
    half = max(3, math.ceil(ordered.shape[1] / 2))
    spacing = (ordered[:, 1] - ordered[:, half - 1]) / (half - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (ordered[:, 0] - ordered[:, 1]) / spacing


def bootstrap(statistics: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> Test:
    """The share of simulated models with a gap ratio at least as large as this model's.

    Args:
        statistics: one finite maximum margin a class, at least five.
        draws: simulated models (fewer for many classes); 1 / (draws + 1) is the smallest p-value.
        seed: of the simulation.

    Returns:
        The p-value with the gap ratio (`statistic`) and the matched log-Gamma `shape`
        (infinite for log-normal, reported as 0), or the reason why there is none.
    """
    count = len(statistics)
    if count < MIN_CLASSES:
        return Test("bootstrap", reason=f"{count} classes; a null needs at least {MIN_CLASSES}")
    values = np.sort(np.asarray(statistics, dtype=np.float64))[::-1]
    if not np.isfinite(values).all():
        return Test("bootstrap", reason="some statistics are not finite")
    half = max(3, math.ceil(count / 2))
    if values[half - 1] <= 0:
        return Test("bootstrap", reason="half of the statistics are not positive: the searches got stuck")
    # The lower half enters only through the skewness, where a stuck search must not count much.
    logarithms = np.log(np.maximum(values, values[half - 1] * 1e-3))
    observed = float(gap_ratio(logarithms[None])[0])
    if math.isnan(observed) or math.isinf(observed):
        return Test("bootstrap", reason="the statistics of the upper half are equal")
    draws = min(draws, max(2000, MOST_NUMBERS // count))
    shape = _shape(logarithms)
    null = gap_ratio(_simulate(shape, draws, count, np.random.default_rng(seed)))
    p = (1 + int((null >= observed).sum())) / (draws + 1)
    return Test(
        "bootstrap",
        statistic=observed,
        p_value=p,
        log10=math.log10(p),
        parameters={"shape": 0.0 if math.isinf(shape) else shape},
    )


def _shape(logarithms: Array) -> float:
    """The log-Gamma shape whose skewness is nearest to that of these logarithms."""
    skewness = _skewness(logarithms)
    distances = [abs(expected - skewness) for expected in _expected()]
    return (*SHAPES, math.inf)[distances.index(min(distances))]


def _skewness(logarithms: Array) -> float:
    """The skewness, with values far below the median pulled up: stuck searches count little."""
    median, upper = np.quantile(logarithms, [0.5, 0.75])
    kept = np.maximum(logarithms, median - STUCK * (upper - median))
    deviations = kept - kept.mean()
    spread = float(deviations.std())
    return float((deviations**3).mean()) / spread**3 if spread > 0 else 0.0


@cache
def _expected() -> tuple[float, ...]:
    """What `_skewness` gives for many log-Gamma statistics of each shape, the normal last."""
    room_for_scipy()
    from scipy import special

    quantiles = (np.arange(20_000) + 0.5) / 20_000
    return (*(_skewness(np.log(special.gammaincinv(shape, quantiles))) for shape in SHAPES), 0.0)


def _simulate(shape: float, draws: int, count: int, generator: np.random.Generator) -> Array:
    """Logarithms of `draws` sets of `count` statistics, (draws, count)."""
    if math.isinf(shape):
        return generator.standard_normal((draws, count))
    # log Gamma(a) = log Gamma(a + 1) + log(U) / a does not underflow for a small shape.
    gamma = generator.standard_gamma(shape + 1, (draws, count))
    return np.log(gamma) - generator.standard_exponential((draws, count)) / shape


BOOTSTRAP = Null(
    title="bootstrap",
    basis="simulated statistics without an outlier",
    values=margins_of,
    test=lambda values, _: bootstrap(values),
    by_default=True,
    alone=True,
)
