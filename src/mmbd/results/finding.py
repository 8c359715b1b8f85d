"""What a detector says about one model: a verdict, and the numbers and pictures it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from mmbd.results.shown import Shown

if TYPE_CHECKING:  # reading and rendering a report needs no torch
    from torch import Tensor

Verdict = Literal["clean", "backdoored", "not evaluable"]
Direction = Literal["high", "low", ""]


@dataclass(frozen=True)
class Column:
    """One number a class.

    Args:
        name: what it is: "maximum margin", "mask norm", "p-value".
        values: one a class, None where there is none.
        unit: what the values are in, such as "logits"; empty for plain numbers.
        suspicious: whether high or low values are; empty where neither is.
    """

    name: str
    values: tuple[float | None, ...]
    unit: str = ""
    suspicious: Direction = "high"


@dataclass(frozen=True)
class Matrix:
    """One number a pair of source class (row) and target class (column)."""

    name: str
    values: tuple[tuple[float | None, ...], ...]
    unit: str = ""
    suspicious: Direction = "high"

    @classmethod
    def of(cls, name: str, values: Tensor, unit: str = "") -> Self:
        """A matrix of numbers (source, target), NaN where there is none."""
        rows = ((None if math.isnan(value) else value for value in row) for row in values.tolist())
        return cls(name, tuple(map(tuple, rows)), unit)


@dataclass(frozen=True)
class Test:
    """One test's answer: a p-value, or a statistic against a threshold.

    Args:
        name: "joint", "bootstrap", "MAD".
        statistic: the test statistic, where there is one number.
        p_value: how often a clean model's would be as extreme; None for a test by threshold.
        log10: the decimal logarithm of the p-value, exact where that underflows.
        threshold: what the statistic had to exceed (or, where `suspicious` is "low", fall below).
        reason: why the test does not apply; None where it does.
        parameters: what was fitted or compared, for plots and reviews: `shape`, `loc` and `scale`
            of a Gamma fitted to the other classes' statistics, and the `exponent` of its p-value.
        suspicious: on which side of the threshold a model is suspicious.
    """

    __test__ = False  # no test of pytest's

    name: str
    statistic: float | None = None
    p_value: float | None = None
    log10: float | None = None
    threshold: float | None = None
    reason: str | None = None
    parameters: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    suspicious: Literal["high", "low"] = "high"

    @property
    def answered(self) -> bool:
        """Whether the test applies: there is a p-value, or a statistic with a threshold."""
        return self.p_value is not None or (self.statistic is not None and self.threshold is not None)


@dataclass(frozen=True)
class Artifact:
    """A tensor worth seeing: an image, a mask, a pattern, a waveform, a cloud.

    Args:
        kind: "maximising input", "trigger mask", "trigger pattern", "triggered sample"; "input before" and
            "input after" belong together, see `results.examples`.
        label: the class that it belongs to; None where it belongs to none.
        tensor: on the CPU, in the units of the model's inputs (a mask: 0 to 1).
    """

    kind: str
    label: int | None
    tensor: Tensor


@dataclass(frozen=True)
class Finding:
    """The outcome of a detector on one model.

    Args:
        verdict: "backdoored", "clean" (nothing found at this level) or "not evaluable".
        targets: the target classes found, the most suspicious first; may be empty although the
            model is backdoored, where a detector names none.
        ranking: the classes, the most suspicious first, whether flagged or not.
        ranked_by: the column that the ranking goes by; None for the first.
        score: the higher, the more suspicious; what ROC curves are drawn from.
        decided_by: the test that the verdict rests on, a name in `tests`.
        tests: every test's answer.
        columns: numbers by class; the first is the detector's statistic.
        matrices: numbers by pair of classes.
        artifacts: what can be seen; not part of the JSON form, but kept beside it.
        shown: what is seen first: the perturbation that decides (or, where nothing is found, the strongest).
        traces: how the searches of some classes went, a number a step.
        caveats: what the detector cannot see and what went less than smoothly, in sentences.
        settings: what it was run with, JSON-ready; equal settings make numbers comparable.
        facts: what its run came to: `evaluations`, `samples_used`, and others of its own.
        reason: why the model is not evaluable; None otherwise.
        no_verdict: why nothing can be said of the model, whatever the numbers are. With several seeds
            one such finding is enough. Not part of the JSON form, nor is the next.
        not_clean: why the model may not be called clean. With several seeds it counts where all
            together would call it so.

    Raises:
        ValueError: parts that contradict each other.
    """

    verdict: Verdict
    targets: tuple[int, ...] = ()
    ranking: tuple[int, ...] = ()
    ranked_by: str | None = None
    score: float | None = None
    decided_by: str | None = None
    tests: tuple[Test, ...] = ()
    columns: tuple[Column, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    artifacts: tuple[Artifact, ...] = field(default=(), compare=False, repr=False)
    shown: Shown | None = None
    traces: Mapping[int, tuple[float | None, ...]] = field(
        default_factory=dict[int, tuple[float | None, ...]]
    )
    caveats: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reason: str | None = None
    no_verdict: str | None = field(default=None, compare=False, repr=False)
    not_clean: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"the verdict is {self.verdict!r}, expected one of {get_args(Verdict)}")
        if self.targets and self.verdict != "backdoored":
            raise ValueError(f"the verdict is {self.verdict!r} with targets {self.targets}")
        if (self.verdict == "not evaluable") != (self.reason is not None):
            raise ValueError(f"the verdict is {self.verdict!r} with the reason {self.reason!r}")
        for what, names in (("tests", self.tests), ("columns", self.columns), ("matrices", self.matrices)):
            if len({part.name for part in names}) < len(names):
                raise ValueError(f"two of the {what} have one name: {[part.name for part in names]}")
        if self.decided_by is not None and self.test is None:
            raise ValueError(f"the test {self.decided_by!r} decides but is not among the tests")
        if self.ranked_by is not None and self.column(self.ranked_by) is None:
            raise ValueError(f"classes are ranked by {self.ranked_by!r}, which is no column")
        if len(set(self.ranking)) < len(self.ranking):
            raise ValueError(f"a class is ranked twice: {list(self.ranking)[:9]}")

    @property
    def test(self) -> Test | None:
        """The test that decides."""
        return next((test for test in self.tests if test.name == self.decided_by), None)

    def column(self, name: str) -> Column | None:
        """The column of this name; None where there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def check(self, classes: int) -> None:
        """ValueError unless every part fits a model of so many classes."""
        labels: dict[str, Sequence[int]] = {
            "targets": self.targets,
            "ranking": self.ranking,
            "traces": list(self.traces),
            "artifacts": [artifact.label for artifact in self.artifacts if artifact.label is not None],
            "shown": [] if self.shown is None else self.shown.classes,
        }
        for name, values in labels.items():
            if any(not 0 <= label < classes for label in values):
                raise ValueError(f"{name} {list(values)[:9]} are not all among {classes} classes")
        for column in self.columns:
            if len(column.values) != classes:
                raise ValueError(f"{len(column.values)} values of {column.name!r} for {classes} classes")
        for matrix in self.matrices:
            if {len(matrix.values), *map(len, matrix.values)} != {classes}:
                raise ValueError(f"the matrix {matrix.name!r} is not {classes} x {classes}")
