"""The MAD index: how far a class lies from the median of all, in robust standard deviations.

Used by Neural Cleanse and detectors after it: Hampel 1974; Wang et al. 2019, section IV-C.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmbd.results.finding import Test

# What makes the median absolute deviation of a normal distribution its standard deviation.
CONSISTENCY = 1.4826
FEWEST = 5  # classes: the index of one among four is nearly always the same


@dataclass(frozen=True)
class Outliers:
    """The classes that stand out on one side.

    Args:
        index: by class, how far it lies on the suspicious side of the median; negative on the other.
        flagged: the classes above the threshold, the farthest out first.
        test: the largest index against the threshold.
    """

    index: Mapping[int, float]
    flagged: tuple[int, ...]
    test: Test


def outliers(
    values: Mapping[int, float],
    *,
    side: Literal["low", "high"] = "low",
    threshold: float = 2.0,
    name: str = "MAD",
) -> Outliers:
    """The classes whose values lie more than `threshold` robust deviations from the median.

    Args:
        values: one finite number a class; classes without one are left out.
        side: which outliers count; those on the other side never do.
        threshold: 2 flags a normal value with a chance of 2 %, each of K classes.
        name: of the test.

    Returns:
        No index, and a test with the reason, where there are fewer than five classes or most values
        are equal.
    """
    if len(values) < FEWEST:
        return _unanswered(name, f"{len(values)} classes have a value, at least {FEWEST} are needed")
    if not all(math.isfinite(value) for value in values.values()):
        raise ValueError(f"expected finite values, got {dict(values)}")
    median = statistics.median(values.values())
    deviation = CONSISTENCY * statistics.median(abs(value - median) for value in values.values())
    if deviation == 0:
        return _unanswered(name, "most classes have the same value")
    sign = -1 if side == "low" else 1
    index = {label: sign * (value - median) / deviation for label, value in values.items()}
    order = sorted(index, key=lambda label: (-index[label], label))
    return Outliers(
        index,
        tuple(label for label in order if index[label] > threshold),
        Test(
            name,
            statistic=index[order[0]],
            threshold=threshold,
            parameters={"median": median, "deviation": deviation},
        ),
    )


def _unanswered(name: str, reason: str) -> Outliers:
    return Outliers({}, (), Test(name, reason=reason))
