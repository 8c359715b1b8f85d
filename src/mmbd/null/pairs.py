"""From one number for every pair of source and target class to a p-value, on two levels.

PT-RED (Xiang et al. 2020): for every target, how likely is the largest of its numbers, given a Gamma
density fitted to the numbers of all other targets; then, how likely is the least likely target. Both
are order statistics, computed by their logarithms where they underflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mmbd.null.paper import Gamma, NoFit, fitted, log_of_largest
from mmbd.results.finding import Test

# Pairs that a Gamma with a location of its own is fitted to, at least: what four classes give. Fewer
# hardly tell its three parameters.
FEWEST = 9


@dataclass(frozen=True)
class Targets:
    """What the numbers of all pairs say of every target.

    Args:
        log10: the decimal logarithm of every target's p-value; None where there is none.
        sources: the source class with the largest number; None for a target without any.
        test: the p-value of the least likely target, or why there is none.
    """

    log10: tuple[float | None, ...]
    sources: tuple[int | None, ...]
    test: Test


def two_levels(
    values: Sequence[Sequence[float | None]],
    bounds: Sequence[Sequence[float | None]] | None = None,
    *,
    name: str = "order statistics",
) -> Targets:
    """p_t = 1 - G_t(largest of target t)^(K - 1), with G_t fitted to all other targets; 1 - (1 - min p_t)^K.

    Args:
        values: by source and target, K x K, finite; None for pairs that have no number, such as those of
            a class with itself. They are left out, and the exponents stay as they are: a p-value that
            is a little too large.
        bounds: of pairs that have no number, what it is at most. They count among all other targets', where
            larger numbers make every p-value larger, and never speak for their own target.
        name: of the test.
    """
    classes = len(values)
    logs: list[float | None] = []
    fits: list[Gamma | None] = []
    sources: list[int | None] = []
    reasons: list[str] = []
    for target in range(classes):
        own = {source: row[target] for source, row in enumerate(values)}
        there = {source: value for source, value in own.items() if value is not None}
        best = max(there, key=lambda source: (there[source], -source), default=None)
        others = [
            value
            for row in (*values, *(bounds or ()))
            for label, value in enumerate(row)
            if label != target and value is not None
        ]
        sources.append(best)
        try:
            gamma = None if best is None else _fitted(others)
            log = None if gamma is None or best is None else gamma.log_tail(there[best])
        except NoFit as error:
            reasons.append(str(error))
            gamma = log = None
        fits.append(gamma)
        logs.append(None if log is None else log_of_largest(log, classes - 1))
    answered = [target for target, log in enumerate(logs) if log is not None]
    if not answered:
        reason = reasons[0] if reasons else "no pair of classes has a number"
        return Targets((None,) * classes, tuple(sources), Test(name, reason=reason))
    first = min(answered, key=lambda target: (logs[target] or 0.0, target))
    log_p = log_of_largest(logs[first] or 0.0, classes)
    gamma = fits[first]
    test = Test(
        name,
        p_value=math.exp(log_p),
        log10=log_p / math.log(10),
        parameters={
            **({} if gamma is None else asdict(gamma)),
            "sources": float(classes - 1),
            "exponent": float(classes),
        },
    )
    by_target = tuple(None if log is None else log / math.log(10) for log in logs)
    return Targets(by_target, tuple(sources), test)


def _fitted(values: list[float]) -> Gamma:
    if len(values) < FEWEST:
        raise NoFit(
            f"{len(values)} pairs of other targets have a number, at least {FEWEST} are needed for a fit"
        )
    if min(values) == max(values):
        raise NoFit("the numbers of all other pairs are equal")
    return fitted(sorted(values), free_location=True)
