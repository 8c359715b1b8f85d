"""From the statistics of all classes to a p-value and a verdict.

Each null model is a file; `judge` asks them all, lets one decide, and steps down to further
target classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mmbd.null import joint as joining
from mmbd.null.bootstrap import MIN_CLASSES, bootstrap
from mmbd.null.joint import joint
from mmbd.null.paper import authors, paper
from mmbd.null.population import STUCK, population, stuck
from mmbd.null.reference import References
from mmbd.results.report import PValue, Verdict

__all__ = ["MIN_CLASSES", "NAMES", "Gains", "Judgement", "Margins", "References", "judge"]

# Every null takes one number a class and what they were made by, which only populations need.
NULLS: dict[str, Callable[[Sequence[float], str], PValue]] = {
    "joint": joint,
    "population": population,
    "bootstrap": lambda statistics, _: bootstrap(statistics),
    "paper": lambda statistics, _: paper(statistics),
    "authors": lambda statistics, _: authors(statistics),
}
NAMES = (*NULLS, "reference")


# Of 21 clean networks for raw sounds, the tables of image classifiers flagged 8 and 13.
ONLY_IMAGES = (
    "it compares with clean classifiers of images, and these inputs are none. Reference models of "
    "the same domain can take its place"
)
# A further target's gap to the rest is at least this share of its gap to the targets above it.
SHADOW = 0.5


@dataclass(frozen=True)
class Gains:
    """The universal gains of the classes that have one, and the settings they were made by."""

    by_class: Mapping[int, float]
    made_by: str


@dataclass(frozen=True)
class Margins:
    """The maximum margins of the classes that have one, and the settings they were made by."""

    by_class: Mapping[int, float]
    made_by: str


@dataclass(frozen=True)
class Judgement:
    """What the nulls say of one set of statistics; the fields are those of a `Report`.

    `evidence` are the numbers by class that the deciding null compared.
    """

    verdict: Verdict
    reason: str | None
    targets: tuple[int, ...]
    p_value: float | None
    null: str | None
    p_values: tuple[PValue, ...]
    class_p_values: Mapping[int, float] | None
    evidence: Mapping[int, float]


def judge(
    statistics: Mapping[int, float],
    *,
    made_by: str,
    level: float,
    null: str | None = None,
    references: References | None = None,
    gains: Gains | None = None,
    names: Sequence[str] | None = None,
    images: bool = True,
    beside: Margins | None = None,
    without_gains: str = "universal perturbations were not searched for",
) -> Judgement:
    """Ask every null and let one decide. Where the searches got stuck, none says "clean".

    Args:
        statistics: the maximum margin of every class that has a valid one, by class.
        made_by: the method and settings behind them (`Run.made_by`); population tables and
            references hold for their own only.
        level: reject at p <= level.
        null: which one decides; see `scan.scan` for the default.
        references: of clean models; None without.
        gains: what universal perturbations gain, for the joint null; None without.
        names: of all classes of the model, in their order, to compare with the references'.
        images: whether its inputs are images, of which the tables of populations are.
        beside: margins of the search that the tables were made with, where `statistics` are of
            another one; the tables compare these.
        without_gains: why there are no gains.
    """
    asked = {name: _Question(name, statistics, made_by) for name in NULLS}
    tabled = beside or Margins(statistics, made_by)
    asked["population"] = _Question("population", tabled.by_class, tabled.made_by)
    if gains is not None:
        both = joining.evidence(tabled.by_class, gains.by_class)
        asked["joint"] = _Question("joint", both, joining.made_by(tabled.made_by, gains.made_by))
    answers = {name: question.answer() for name, question in asked.items()}
    if gains is None:
        answers["joint"] = _none("joint", without_gains)
    if not images:
        answers |= {name: _none(name, ONLY_IMAGES) for name in ("joint", "population")}
    compared = None
    if references is not None:
        alike = tabled if references.made_by == tabled.made_by else Margins(statistics, made_by)
        compared = references.beside(alike.by_class, names)
        answers["reference"] = references.model_p_value(compared, alike.made_by, level)
    # A null that does not apply leaves the verdict to the next. One for which the searches got
    # stuck does not: a weaker one would see still less.
    preferred = (
        name
        for name in ("reference", "joint", "population")
        if name in answers and (answers[name].value is not None or answers[name].reason == STUCK)
    )
    decisive = null or next(preferred, "bootstrap")
    answer = answers[decisive]
    targets: tuple[int, ...] = ()
    if answer.value is not None and answer.value <= level:
        if decisive == "reference":
            assert compared is not None
            targets = compared.exceeding(level)
        else:
            targets = asked[decisive].step_down(answer, level)
    reason = answer.reason if answer.value is None else None
    if not targets and reason is None and stuck(list(statistics.values())):
        reason = STUCK
    verdict: Verdict = "backdoored" if targets else "clean"
    own = asked[decisive].values if compared is None or decisive != "reference" else compared.own
    return Judgement(
        verdict=verdict if reason is None else "not evaluable",
        reason=reason,
        targets=targets,
        p_value=answer.value,
        null=decisive,
        p_values=tuple(answers.values()),
        class_p_values=None if compared is None else compared.class_p_values(),
        evidence=own,
    )


def _none(null: str, reason: str) -> PValue:
    return PValue(null, value=None, log10=None, reason=reason)


@dataclass(frozen=True)
class _Question:
    """What one null is asked: numbers by class, and what they were made by."""

    null: str
    values: Mapping[int, float]
    made_by: str

    def answer(self, but: Sequence[int] = ()) -> PValue:
        """The null's p-value for all classes but some."""
        values = [value for label, value in self.values.items() if label not in but]
        if len(values) < MIN_CLASSES:
            reason = (
                f"{len(values)} classes with a valid statistic; a null needs at least "
                f"{MIN_CLASSES}. Reference models of the same domain can take its place"
            )
            return _none(self.null, reason)
        return NULLS[self.null](values, self.made_by)

    def step_down(self, answer: PValue, level: float) -> tuple[int, ...]:
        """Test the largest, set it aside, test the next (paper, section 5.2, repeated).

        `answer` is about all of them. At most half of the classes can be targets: beyond that
        nothing is left to compare with. A class that is much farther below the targets than above
        the rest is taken for their shadow: what a strong trigger does to similar classes.
        """
        order = sorted(self.values, key=lambda label: -self.values[label])
        targets: list[int] = []
        while answer.value is not None and answer.value <= level:
            found = len(targets) + int(answer.parameters.get("outliers") or 1)
            if targets and self._shadow(order[len(targets) - 1 : found + 1]):
                break
            targets = order[:found]
            if found >= len(order) // 2:
                break
            answer = self.answer(but=targets)
        return tuple(targets)

    def _shadow(self, labels: Sequence[int]) -> bool:
        """Whether classes between the last target and the next other one are that target's."""
        values = [self.values[label] for label in labels]
        if values[-1] <= 0:
            return False
        above, below = math.log(values[0] / values[1]), math.log(values[-2] / values[-1])
        return below < SHADOW * above
