"""Conformal p-values from the statistics of clean reference models of the same domain.

No distribution is assumed: if the model under test and the references are exchangeable, the rank
of its statistic among theirs is uniform. This also sees all-to-all attacks, where every class is a
target and a model's own statistics hold no null (paper, section 7.1).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmbd.errors import Failed
from mmbd.report import PValue, Report


@dataclass(frozen=True)
class References:
    """The statistics of clean models, one tuple a model, and what they were made by."""

    statistics: tuple[tuple[float, ...], ...]
    made_by: str

    def __post_init__(self) -> None:
        if not self.statistics or not all(self.statistics):
            raise Failed("references need at least one model with at least one statistic")

    @classmethod
    def from_reports(cls, reports: Iterable[tuple[object, Report]]) -> References:
        """The statistics in reports on clean models, each with a name for error messages.

        Raises:
            Failed: a class has no statistic, or reports were made with different settings.
        """
        models: list[tuple[float, ...]] = []
        made_by: set[str] = set()
        for name, report in reports:
            numbers = tuple(value for value in report.statistics if value is not None)
            if report.run is None or len(numbers) < len(report.statistics):
                raise Failed(f"reference {name}: {report.reason or 'a class has no statistic'}")
            models.append(numbers)
            made_by.add(report.run.made_by)
        if len(made_by) > 1:
            raise Failed(f"references were made with different settings: {sorted(made_by)}")
        return cls(tuple(models), next(iter(made_by), ""))

    def class_p_values(self, statistics: Mapping[int, float]) -> dict[int, float]:
        """Per class, (1 + references' statistics at least as large) / (1 + all of them).

        The classes of all references are pooled, as in section 7.1 of the paper.
        """
        pooled = sorted(value for model in self.statistics for value in model)
        return {
            label: (1 + len(pooled) - bisect_left(pooled, value)) / (1 + len(pooled))
            for label, value in statistics.items()
        }

    def model_p_value(self, values: Sequence[float], made_by: str, level: float) -> PValue:
        """The rank of the largest statistic among the references' largest.

        With n references the smallest possible p-value is 1 / (n + 1), so a level needs
        n >= 1 / level - 1 of them.
        """
        count = len(self.statistics)
        needed = math.ceil(1 / level - 1 - 1e-9)
        if made_by != self.made_by:
            return _none("the reference statistics were made with other settings than this scan's")
        if not values:
            return _none("no class has a valid statistic")
        p = self._rank(max(values))
        if count < needed:
            return _none(
                f"{count} reference models are too few: a level of {level:g} needs {needed} "
                f"(rank p-value {p:.3g})"
            )
        return PValue(
            "reference",
            value=p,
            log10=math.log10(p),
            parameters={"references": float(count)},
        )

    def exceeding(self, statistics: Mapping[int, float], level: float) -> tuple[int, ...]:
        """The classes whose own statistic is that rare among the references' largest."""
        order = sorted(statistics, key=lambda label: -statistics[label])
        return tuple(label for label in order if self._rank(statistics[label]) <= level)

    def _rank(self, value: float) -> float:
        at_least = sum(max(model) >= value for model in self.statistics)
        return (1 + at_least) / (1 + len(self.statistics))


def _none(reason: str) -> PValue:
    return PValue("reference", value=None, log10=None, reason=reason)
