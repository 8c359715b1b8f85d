"""From the statistics of all classes to a p-value and a verdict.

Each null model is a file; `judge` asks them all, lets one decide, and steps down to further
target classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mmbd.null.bootstrap import MIN_CLASSES, bootstrap
from mmbd.null.paper import authors, paper
from mmbd.null.population import population
from mmbd.null.reference import References
from mmbd.report import PValue, Verdict

__all__ = ["MIN_CLASSES", "NAMES", "Judgement", "References", "judge"]

# Every null takes the statistics and what they were made by, which only the population needs.
NULLS: dict[str, Callable[[Sequence[float], str], PValue]] = {
    "population": population,
    "bootstrap": lambda statistics, _: bootstrap(statistics),
    "paper": lambda statistics, _: paper(statistics),
    "authors": lambda statistics, _: authors(statistics),
}
NAMES = (*NULLS, "reference")


@dataclass(frozen=True)
class Judgement:
    """What the nulls say of one set of statistics; the fields are those of a `Report`."""

    verdict: Verdict
    reason: str | None
    targets: tuple[int, ...]
    p_value: float | None
    null: str | None
    p_values: tuple[PValue, ...]
    class_p_values: Mapping[int, float] | None


def judge(
    statistics: Mapping[int, float],
    *,
    made_by: str,
    level: float,
    null: str | None = None,
    references: References | None = None,
) -> Judgement:
    """Ask every null and let one decide.

    Args:
        statistics: the maximum margin of every class that has a valid one, by class.
        made_by: the method and settings behind them (`Ascent.key`); the population table and
            references hold for their own only.
        level: reject at p <= level.
        null: which one decides; see `scan.scan` for the default.
        references: of clean models; None without.
    """
    values = list(statistics.values())
    answers = {name: _ask(name, values, made_by) for name in NULLS}
    if references is not None:
        answers["reference"] = references.model_p_value(values, made_by, level)
    applying = [name for name, answer in answers.items() if answer.value is not None]
    preferred = (name for name in ("reference", "population") if name in applying)
    decisive = null or next(preferred, "bootstrap")
    answer = answers[decisive]
    targets: tuple[int, ...] = ()
    if answer.value is not None and answer.value <= level:
        if decisive == "reference":
            assert references is not None
            targets = references.exceeding(statistics, level)
        else:
            targets = _step_down(statistics, answer, made_by, level)
    verdict: Verdict = "backdoored" if targets else "clean"
    return Judgement(
        verdict="not evaluable" if answer.value is None else verdict,
        reason=answer.reason if answer.value is None else None,
        targets=targets,
        p_value=answer.value,
        null=decisive,
        p_values=tuple(answers.values()),
        class_p_values=None if references is None else references.class_p_values(statistics),
    )


def _ask(name: str, values: Sequence[float], made_by: str) -> PValue:
    if len(values) < MIN_CLASSES:
        reason = (
            f"{len(values)} classes with a valid statistic; a null needs at least {MIN_CLASSES}. "
            f"Reference models of the same domain can take its place"
        )
        return PValue(name, value=None, log10=None, reason=reason)
    return NULLS[name](values, made_by)


def _step_down(
    statistics: Mapping[int, float], answer: PValue, made_by: str, level: float
) -> tuple[int, ...]:
    """Test the largest statistic, set it aside, test the next (paper, section 5.2, repeated).

    `answer` is about all of them. At most half of the classes can be targets: beyond that nothing
    is left to compare with.
    """
    order = sorted(statistics, key=lambda label: -statistics[label])
    targets: list[int] = []
    while answer.value is not None and answer.value <= level:
        outliers = int(answer.parameters.get("outliers") or 1)
        targets = order[: len(targets) + outliers]
        if len(targets) >= len(order) // 2:
            break
        answer = _ask(answer.null, [statistics[label] for label in order[len(targets) :]], made_by)
    return tuple(targets)
