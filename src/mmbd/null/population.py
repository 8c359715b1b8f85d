"""A p-value from how clean networks behave: the top gap of this model against a population's.

With ten classes, one model's other nine statistics tell little about how far the largest of a clean
model strays. A population of clean networks tells more. The test statistic is the top gap: the
logarithm of the largest statistic over the second largest or, so that two targets do not hide each
other, half the logarithm of the second over the third (half: it costs no power against one
target). What is usual depends on the number of classes like a power of it; gaps in units of that
are compared with the population: by rank in the body, and beyond its 80 % point by an exponential
tail whose mean excess is itself uncertain, so that p is never smaller than the population can vouch
for. Which models, how they were made and how it was validated is in `benchmarks/study`; the table
ships as `population.json`.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from mmbd.null.null import ONLY_IMAGES, Evidence, Null
from mmbd.null.settings import comparable
from mmbd.results.finding import Test

# Below this many classes, the third largest statistic is too low in the order to compare with.
MASKING_CLASSES = 8
BODY = 0.8
# Why a model with such statistics cannot be judged, by whichever null.
STUCK = "half of the statistics are not positive: the searches got stuck"
# The steepest power of the number of classes: few models of many classes must not extrapolate.
STEEPEST = 0.5


@dataclass(frozen=True)
class Population:
    """Top gaps of clean networks, in units of what is usual for their number of classes.

    The usual gap at K classes is `scale` * K ** -`power`; `gaps` are sorted; `settings_key` is of
    the search behind them (`null.margins_key`).
    """

    scale: float
    power: float
    gaps: tuple[float, ...]
    settings_key: str

    def usual(self, classes: int) -> float:
        """The typical top gap of a clean network with so many classes."""
        return self.scale * classes**-self.power

    def tail(self, gap: float) -> float:
        """The chance that a clean network's gap, in usual units, is at least `gap`."""
        count = len(self.gaps)
        start = self.gaps[int(BODY * count)]
        if gap <= start:
            return (1 + count - bisect_left(self.gaps, gap)) / (1 + count)
        beyond = [value - start for value in self.gaps if value > start]
        # Exponential excesses whose mean is estimated from n of them: the predictive tail is
        # (1 + x / (n * mean)) ** -n.
        share = (1 + len(beyond)) / (1 + count)
        return share * (1 + (gap - start) / math.fsum(beyond)) ** -len(beyond)


def top_gap(statistics: Sequence[float]) -> tuple[float, int]:
    """The top gap, and how many classes lie above it: one, or two that hide each other.

    Infinite when the statistic below the gap is not positive.
    """
    ordered = sorted(statistics, reverse=True)
    places = (1, 2) if len(ordered) >= MASKING_CLASSES else (1,)
    gaps = [
        (_log_ratio(ordered[place - 1], ordered[place]) / place, place)
        for place in places
        if ordered[place - 1] > 0
    ]
    return max(gaps, key=lambda gap: (gap[0], -gap[1]), default=(0.0, 1))


def _log_ratio(upper: float, lower: float) -> float:
    return math.log(upper / lower) if lower > 0 else math.inf


def fit(models: Iterable[Sequence[float]], settings_key: str) -> Population:
    """A population from the statistics of clean networks, one sequence a network.

    The usual gap is fitted by maximum likelihood as if gaps were exponential.
    """
    from scipy import optimize

    pairs = [(len(statistics), top_gap(statistics)[0]) for statistics in models]
    pairs = [(classes, gap) for classes, gap in pairs if math.isfinite(gap)]

    def scale(power: float) -> float:
        return math.fsum(gap * classes**power for classes, gap in pairs) / len(pairs)

    def loss(power: float) -> float:
        logs = math.fsum(math.log(classes) for classes, _ in pairs) / len(pairs)
        return math.log(scale(power)) - power * logs

    found: Any = optimize.minimize_scalar(loss, bounds=(0.0, STEEPEST), method="bounded")
    power = float(found.x)
    usual = scale(power)
    gaps = sorted(gap / (usual * classes**-power) for classes, gap in pairs)
    return Population(usual, power, tuple(gaps), settings_key)


@cache
def shipped(null: str = "population") -> Population:
    """The table that comes with the package for this null."""
    raw = json.loads(files("mmbd.null").joinpath(f"{null}.json").read_text(encoding="utf-8"))
    return Population(raw["scale"], raw["power"], tuple(raw["gaps"]), comparable(raw["made_by"]))


def population(
    statistics: Sequence[float],
    settings_key: str,
    table: Population | None = None,
    *,
    null: str = "population",
) -> Test:
    """How rarely a clean network shows a top gap like this one's.

    Args:
        statistics: one finite maximum margin a class, at least five.
        settings_key: of the search behind them; another population's do not compare.
        table: instead of the shipped one.
        null: the name that the answer goes by.

    Returns:
        The p-value with the gap (`statistic`), the `usual` gap at this number of classes and how
        many `outliers` lie above it; or the reason why there is none.
    """
    table = table or shipped()
    if settings_key != table.settings_key:
        return Test(null, reason="the population was measured with other settings than this scan's")
    if stuck(statistics):
        return Test(null, reason=STUCK)
    gap, outliers = top_gap(statistics)
    usual = table.usual(len(statistics))
    p = table.tail(gap / usual)
    return Test(
        null,
        statistic=gap,
        p_value=p,
        log10=math.log10(p),
        parameters={"usual": usual, "outliers": float(outliers)},
    )


def stuck(statistics: Sequence[float]) -> bool:
    """Whether half of the statistics are not positive, so that they say nothing of the rest."""
    ordered = sorted(statistics, reverse=True)
    return bool(ordered) and ordered[len(ordered) // 2] <= 0


def _values(evidence: Evidence) -> Mapping[int, float] | str:
    return evidence.tabled.by_class if evidence.kind == "image" else ONLY_IMAGES


POPULATION = Null(
    title="population",
    basis="clean networks of many kinds",
    values=_values,
    test=lambda values, evidence: population(values, evidence.tabled.settings_key),
    by_default=True,
)
