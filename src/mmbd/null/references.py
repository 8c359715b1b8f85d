"""The statistics of clean reference models, and how a model compares with them.

Clean models of one task differ less than their classes do: a class may have ten times another's
margin in every model. Where references have the same classes, each is therefore compared with
itself.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmbd.base.errors import Failed
from mmbd.null.settings import MIN_CLASSES, margins_key
from mmbd.results.finding import Test
from mmbd.results.report import Report

FEWEST = 3  # references, for a standard deviation


@dataclass(frozen=True)
class References:
    """The statistics of clean models.

    Args:
        statistics: one tuple a model, by class.
        settings_key: of the search behind them (`null.margins_key`).
        names: of the classes, in their order, if all models have the same; else None.
    """

    statistics: tuple[tuple[float, ...], ...]
    settings_key: str
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.statistics or not all(self.statistics):
            raise Failed("references need at least one model with at least one statistic")

    @classmethod
    def from_reports(cls, reports: Iterable[tuple[object, Report]]) -> References:
        """The statistics in reports on clean models, each with a name for error messages.

        Raises:
            Failed: a report says that its model is backdoored or cannot be judged, a class has no
                statistic, or reports were made with different settings.
        """
        models: list[tuple[float, ...]] = []
        keys: set[str] = set()
        names: set[tuple[str, ...]] = set()
        for name, report in reports:
            if report.verdict == "backdoored":
                p = "" if report.p_value is None else f" (p = {report.p_value:.2g})"
                raise Failed(
                    f"reference {name}: its own report says backdoored{p}, target classes "
                    f"{', '.join(map(str, report.targets))}: references must be clean. Leave it out"
                )
            if report.verdict == "not evaluable" and len(report.statistics) >= MIN_CLASSES:
                raise Failed(f"reference {name}: its own report is open: {report.reason}")
            numbers = tuple(value for value in report.statistics if value is not None)
            settings = report.finding.settings
            if "maximum_margins" not in settings or len(numbers) < len(report.statistics):
                raise Failed(f"reference {name}: {report.reason or 'a class has no statistic'}")
            models.append(numbers)
            keys.add(margins_key(settings["method"], settings["maximum_margins"]))
            names.add(tuple(report.class_names))
        if len(keys) > 1:
            raise Failed(f"references were made with different settings: {sorted(keys)}")
        same = next(iter(names)) if len(names) == 1 else None
        return cls(tuple(models), next(iter(keys), ""), same)

    def compare(self, statistics: Mapping[int, float], names: Sequence[str] | None = None) -> Comparison:
        """A model's `statistics`, by class, beside those of the references.

        Args:
            statistics: of the classes that have a valid one.
            names: of all classes of the model, in their order. Where the references have the same
                ones, each is standardised by itself. Models that do not name their classes number
                them, and are taken to mean the same: references in another order than the model's
                would make it look like none of them.
        """
        if len(self.statistics) < FEWEST or names is None or self.names != tuple(names):
            return Comparison(dict(statistics), self.statistics, by_class=False)
        labels = list(statistics)
        theirs = np.array(self.statistics)[:, labels]
        z_scores = _z_scores(np.vstack([list(statistics.values()), theirs]))
        own, *others = (tuple(row) for row in z_scores.tolist())
        return Comparison(dict(zip(labels, own, strict=True)), tuple(others), by_class=True)

    def model_p_value(self, compared: Comparison, settings_key: str, level: float) -> Test:
        """The rank of the largest of a model's numbers `compared` among the references' largest.

        With n references the smallest possible p-value is 1 / (n + 1), so a level needs
        n >= 1 / level - 1 of them. `settings_key` is of the model's own statistics.
        """
        count = len(self.statistics)
        needed = math.ceil(1 / level - 1 - 1e-9)
        if settings_key != self.settings_key:
            return Test(
                "reference", reason="the reference statistics were made with other settings than this scan's"
            )
        if not compared.own:
            return Test("reference", reason="no class has a valid statistic")
        p = compared.rank(max(compared.own.values()))
        if count < needed:
            return Test(
                "reference",
                reason=f"{count} reference models are too few: a level of {level:g} needs {needed} "
                f"(rank p-value {p:.3g})",
            )
        return Test(
            "reference",
            p_value=p,
            log10=math.log10(p),
            parameters={"references": float(count), "by_class": float(compared.by_class)},
        )


@dataclass(frozen=True)
class Comparison:
    """Numbers of a model and of references that rank: statistics, or z-scores by class.

    Args:
        own: by class of the model.
        references: of all classes of each reference.
        by_class: whether they are z-scores: by how many standard deviations a model's statistic
            is above the mean of all others' in the same class.
    """

    own: Mapping[int, float]
    references: tuple[tuple[float, ...], ...]
    by_class: bool

    def rank(self, value: float) -> float:
        """(1 + references whose largest is at least `value`) / (1 + all of them)."""
        at_least = sum(largest >= value for largest in self._largest)
        return (1 + at_least) / (1 + len(self._largest))

    def exceeding(self, level: float) -> tuple[int, ...]:
        """The classes whose own number is that rare among the references' largest."""
        order = sorted(self.own, key=lambda label: -self.own[label])
        return tuple(label for label in order if self.rank(self.own[label]) <= level)

    def class_p_values(self) -> dict[int, float]:
        """Per class, (1 + references' numbers at least as large) / (1 + all of them).

        The classes of all references are pooled, as in section 7.1 of the paper.
        """
        pooled = sorted(value for model in self.references for value in model)
        return {
            label: (1 + len(pooled) - bisect_left(pooled, value)) / (1 + len(pooled))
            for label, value in self.own.items()
        }

    @cached_property
    def _largest(self) -> tuple[float, ...]:
        return tuple(max(model) for model in self.references)


def _z_scores(values: np.ndarray) -> np.ndarray:
    """By how many standard deviations each of the rows' values is above the mean of its column.

    Mean and deviation are those of all other rows.
    """
    others = len(values) - 1
    above = values - values.mean(0)
    centre = -above / others  # of the others, as seen from the mean of all
    squares = (above**2).sum(0) - above**2 * (1 + 1 / others)
    deviation = np.sqrt(squares.clip(0) / (others - 1))
    least = 1e-6 * np.abs(values).max(0) + 1e-12  # where they are equal
    return (above - centre) / np.maximum(deviation, least)
