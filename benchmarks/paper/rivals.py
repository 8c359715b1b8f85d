"""All detectors over one zoo, on equal terms: what Tables 1 and 2 show.

A backdoored model counts as right where it is flagged and the class named first is a true target; a
clean one where it is not flagged. Where a detector names no class (META), the flag alone counts.

Thresholds are either fixed, which is what users get, or tuned on the very models they are reported on,
as the paper did for its rivals: of all thresholds on the score the one with the largest mean of the
share of backdoored models that are right and the share of clean ones. Tuned figures are too good, most
of all with few models, and never of use but for comparing like with like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mmbd.detectors import DETECTORS
from mmbd.evaluation.tables import Result

CLEAN = "clean"
# The union of two detectors, from their answers: it flags where either does.
UNION = ("pt-red + abs", ("pt-red", "abs"))
ALL = (
    "mm-bd",
    "neural-cleanse",
    "tabor",
    "abs",
    "meta",
    "tnd",
    "df-tnd",
    "pt-red",
    "pt-red-reduced",
    "head",
    "source-target-map",
    "latent-shift",
    "local-patch",
)
# Options that are not the defaults: no attack here is a filter, and without the search for filters ABS takes
# half as long and can only raise fewer false alarms.
SETTINGS: dict[str, dict[str, Any]] = {"abs": {"filters": False}}


@dataclass(frozen=True)
class Judged:
    """One detector's answer about one model: the truth, the flag, whether the class is right."""

    attack: str
    backdoored: bool
    flagged: bool
    located: bool
    score: float
    answered: bool
    seconds: float | None
    evaluations: int | None

    @property
    def right(self) -> bool:
        """At the detector's own threshold."""
        return self.flagged and self.located if self.backdoored else not self.flagged

    def right_above(self, threshold: float) -> bool:
        """With a threshold on the score instead."""
        flagged = self.score > threshold  # never without a score
        return flagged and self.located if self.backdoored else not flagged


def judged(result: Result) -> Judged:
    """What counts of an answer."""
    facts = {} if result.report is None else result.report.finding.facts
    return Judged(
        attack=result.attack,
        backdoored=result.backdoored,
        flagged=result.flagged,
        located=result.located,
        score=result.score,
        answered=result.answer is not None,
        seconds=result.seconds,
        evaluations=facts.get("evaluations"),
    )


def by_detector(results: Sequence[Result]) -> dict[str, list[Judged]]:
    """The answers of every detector, and of the union of two where both were asked."""
    found: dict[str, dict[str, Result]] = {}
    for result in results:
        if result.opened and result.error is None:
            found.setdefault(result.detector, {})[result.model] = result
    table = {name: [judged(one) for one in answers.values()] for name, answers in found.items()}
    name, parts = UNION
    if set(parts) <= set(found):
        shared = set.intersection(*(set(found[part]) for part in parts))
        table[name] = [_either([judged(found[part][model]) for part in parts]) for model in sorted(shared)]
    return table


def _either(parts: Sequence[Judged]) -> Judged:
    flagged = [part for part in parts if part.flagged]
    first = flagged[0] if flagged else parts[0]
    return Judged(
        attack=first.attack,
        backdoored=first.backdoored,
        flagged=bool(flagged),
        located=any(part.located for part in flagged) if flagged else first.located,
        answered=any(part.answered for part in parts),
        score=math.nan,  # two scores that do not compare: its thresholds cannot be tuned
        seconds=_sum([part.seconds for part in parts]),
        evaluations=None,
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def tuned(answers: Sequence[Judged]) -> float | None:
    """The threshold on the score that suits these very models best; None without scores."""
    scores = sorted({one.score for one in answers if math.isfinite(one.score)})
    if not scores or all(math.isnan(one.score) for one in answers):
        return None
    places = [scores[0] - 1.0, *((a + b) / 2 for a, b in pairwise(scores)), scores[-1] + 1.0]

    def worth(threshold: float) -> float:
        shares = [
            [one.right_above(threshold) for one in answers if one.backdoored is truth]
            for truth in (True, False)
        ]
        return sum(sum(share) / len(share) for share in shares if share)

    return max(reversed(places), key=worth)  # of equal ones the highest, with the fewest alarms


def images_a_class(detector: str) -> int:
    """The clean images a class that a detector takes by default; 0 where it needs none."""
    if detector == UNION[0]:
        return max(images_a_class(part) for part in UNION[1])
    row = DETECTORS.get(detector)
    return row.per_class if row is not None and row.needs & {"samples", "labels"} else 0


def rates(
    answers: Sequence[Judged], attacks: Sequence[str], right: Callable[[Judged], bool]
) -> list[list[bool]]:
    """Which answers are right, by attack, then for all backdoored models together."""
    named = [[right(one) for one in answers if one.attack == attack] for attack in attacks]
    return [*named, [right(one) for one in answers if one.backdoored]]
