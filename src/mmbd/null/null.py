"""What every null is: numbers of a model in, and how often a clean model's would be as extreme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mmbd.null.references import Comparison, References
from mmbd.null.settings import MIN_CLASSES
from mmbd.results.finding import Test

# Of 21 clean networks for raw sounds, the tables of image classifiers flagged 8 and 13.
ONLY_IMAGES = (
    "it compares with clean classifiers of images, and these inputs are none. Reference models of "
    "the same domain can take its place"
)

UNSEARCHED = "windows and other marks were not searched for"

RACED = (
    "it compares all classes alike, and only those that lead were searched to the end (`--option race=false` "
    "searches all of them)"
)


@dataclass(frozen=True)
class Measured:
    """One number for every class that has a valid one, and the settings it was measured with.

    `settings_key` is of `margins_key`, `gains_key` or `joint_key`: numbers compare where it agrees.
    """

    by_class: Mapping[int, float]
    settings_key: str


@dataclass(frozen=True)
class Marked:
    """What was found beside margins and gains (`search.marks`, `marks_on_samples`), by mark.

    Args:
        by_mark: for each mark that could be had, one number a class, those that lead the largest.
        in_pairs: the share of inputs that one window takes away by pairs of classes, no two of them from
            one class or to one, in [0, 1].
        pairs: those, source -> destination.
        settings_key: numbers compare where it agrees.
    """

    by_mark: Mapping[str, Mapping[int, float]]
    in_pairs: float
    pairs: Mapping[int, int]
    settings_key: str


@dataclass(frozen=True)
class Evidence:
    """Everything that nulls may compare of one model under one seed.

    Args:
        margins: the maximum margins.
        level: the false-positive rate asked for.
        gains: what universal perturbations gain; None where they were not searched for.
        without_gains: why there are no gains.
        marks: what else was found; None where it was not searched for.
        without_marks: why not.
        on_samples: what was found on clean samples; None where there were none, or they did not do.
        default: the margins of the default search, which shipped tables compare, where `margins`
            are of another one.
        names: of all classes of the model, in their order, to compare with the references'.
        kind: of the model's inputs, see `Domain.kind`.
        references: of clean models; None without.
        raced: whether only the classes that lead were searched to the end.
    """

    margins: Measured
    level: float
    gains: Measured | None = None
    without_gains: str = "universal perturbations were not searched for"
    marks: Marked | None = None
    without_marks: str = UNSEARCHED
    on_samples: Marked | None = None
    default: Measured | None = None
    names: Sequence[str] | None = None
    kind: str = "image"
    references: References | None = None
    raced: bool = False

    @property
    def tabled(self) -> Measured:
        """The margins that shipped tables compare."""
        return self.default or self.margins

    @cached_property
    def compared(self) -> tuple[Comparison, str] | None:
        """The margins beside those of the references, and the settings behind them."""
        if self.references is None:
            return None
        alike = self.tabled if self.references.settings_key == self.tabled.settings_key else self.margins
        return self.references.compare(alike.by_class, self.names), alike.settings_key


@dataclass(frozen=True)
class Null:
    """A row of `NULLS`.

    Args:
        title: how it is called in print.
        basis: what it compares a model with.
        values: the numbers by class that it compares; a sentence on why it does not apply to such
            evidence; None where it is not worth a word.
        test: its answer for such numbers.
        by_default: whether it may decide without having been chosen.
        targets: the target classes, where they are found otherwise than by stepping down.
        column: how its numbers are called where they are others than the margins.
        fewest: how many classes with a number it needs.
        alone: whether it compares a model with nothing but itself.
        gamma: whether its parameters `shape`, `loc` and `scale` are of a Gamma density to draw.
    """

    title: str
    basis: str
    values: Callable[[Evidence], Mapping[int, float] | str | None]
    test: Callable[[Sequence[float], Evidence], Test]
    by_default: bool = False
    targets: Callable[[Evidence], tuple[int, ...]] | None = None
    column: str = "maximum margin of the default search"
    fewest: int = MIN_CLASSES
    alone: bool = False
    gamma: bool = False


def margins_of(evidence: Evidence) -> Mapping[int, float] | str:
    """The maximum margins, for nulls that compare a model with itself: all of its classes alike."""
    return RACED if evidence.raced else evidence.margins.by_class
