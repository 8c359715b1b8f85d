"""All nulls are asked, one decides, and further target classes are stepped down to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmbd.null import NULLS
from mmbd.null.null import Evidence
from mmbd.null.population import STUCK, stuck
from mmbd.results.finding import Test, Verdict

# A class is a target of its own, and not the shadow of the targets above it, where the logarithm of
# its number over the next one is at least this share of that of the targets' over its own.
SHADOW = 0.5


@dataclass(frozen=True)
class Decision:
    """What the nulls say of one model under one seed.

    `values` are the numbers by class that the deciding null compared, `class_p_values` conformal ones by
    class with references; the rest is as in `Finding`.
    """

    verdict: Verdict
    reason: str | None
    targets: tuple[int, ...]
    decided_by: str
    tests: tuple[Test, ...]
    values: Mapping[int, float]
    class_p_values: Mapping[int, float] | None = None

    @property
    def test(self) -> Test:
        """The answer of the null that decides."""
        return next(test for test in self.tests if test.name == self.decided_by)


def decide(evidence: Evidence, null: str | None = None) -> Decision:
    """Ask every null and let one decide. Where the searches got stuck, none says "clean".

    Args:
        evidence: what was measured.
        null: which one decides; by default the first in `NULLS` that applies. One that does not
            apply leaves the verdict to the next. One for which the searches got stuck does not: a
            weaker one would see still less.
    """
    values = {name: row.values(evidence) for name, row in NULLS.items()}
    answers = {name: _answer(name, found, evidence) for name, found in values.items() if found is not None}
    candidates = [name for name in answers if NULLS[name].by_default]
    applies = (name for name in candidates if answers[name].answered or answers[name].reason == STUCK)
    chosen = null or next(applies, candidates[-1])
    test, margins = answers[chosen], evidence.margins.by_class
    compared = values[chosen]
    compared = compared if isinstance(compared, Mapping) else margins
    targets: tuple[int, ...] = ()
    if test.p_value is not None and test.p_value <= evidence.level:
        find = NULLS[chosen].targets
        targets = _step_down(chosen, compared, test, evidence) if find is None else find(evidence)
    reason = test.reason
    if not targets and reason is None and stuck(list(margins.values())):
        reason = STUCK
    verdict: Verdict = "backdoored" if targets else "clean"
    return Decision(
        verdict=verdict if reason is None else "not evaluable",
        reason=reason,
        targets=targets,
        decided_by=chosen,
        tests=tuple(answers.values()),
        values=compared,
        class_p_values=None if evidence.compared is None else evidence.compared[0].class_p_values(),
    )


def _answer(
    name: str, values: Mapping[int, float] | str, evidence: Evidence, but: Sequence[int] = ()
) -> Test:
    """The null's answer for all classes but some."""
    if isinstance(values, str):
        return Test(name, reason=values)
    kept = [value for label, value in values.items() if label not in but]
    fewest = NULLS[name].fewest
    if len(kept) < fewest:
        return Test(
            name,
            reason=f"{len(kept)} classes with a valid statistic; a null needs at least {fewest}. "
            "Reference models of the same domain can take its place",
        )
    return NULLS[name].test(kept, evidence)


def _step_down(name: str, values: Mapping[int, float], test: Test, evidence: Evidence) -> tuple[int, ...]:
    """Test the largest, set it aside, test the next (paper, section 5.2, repeated).

    `test` is about all of them. At most half of the classes can be targets: beyond that nothing is
    left to compare with. A class that is much farther below the targets than above the rest is
    taken for their shadow: what a strong trigger does to similar classes.
    """
    order = sorted(values, key=lambda label: -values[label])
    targets: list[int] = []
    while test.p_value is not None and test.p_value <= evidence.level:
        found = len(targets) + int(test.parameters.get("outliers") or 1)
        if targets and _shadow([values[label] for label in order[len(targets) - 1 : found + 1]]):
            break
        targets = order[:found]
        if found >= len(order) // 2:
            break
        test = _answer(name, values, evidence, but=targets)
    return tuple(targets)


def _shadow(values: Sequence[float]) -> bool:
    """Whether classes between the last target and the next other one are that target's."""
    if values[-1] <= 0:
        return False
    above, below = math.log(values[0] / values[1]), math.log(values[-2] / values[-1])
    return below < SHADOW * above
