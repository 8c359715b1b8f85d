"""A p-value from all marks that a trigger leaves, against those of clean networks.

The target of a backdoor has the largest margin; small changes of any input lead there, universal
perturbations and one window; and the last linear layer prefers it (`search.marks`). In a clean network each
of these marks has some class on top too, but another one each, and by less. Every mark speaks for its top
class alone, by how far that stands out; what the marks say of one class, weighted, adds up to the evidence of
the class, so that each mark's part in it can be told. An attack of all classes on all shows otherwise: one
window takes each class's inputs to a class of their own.

The largest evidence is compared with that of clean networks of many kinds, by rank and beyond their 80 %
point by an exponential tail (`population`): the level holds whatever the weights are, as long as the network
is like those. `combined.json` has weights and table; how they were chosen, and how they hold on kinds of
networks and attacks that played no part, is in `benchmarks/study/score.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from mmbd.null.null import ONLY_IMAGES, Evidence, Marked, Null
from mmbd.null.population import STUCK, Population, stuck
from mmbd.null.settings import MIN_CLASSES, joint_key
from mmbd.results.finding import Test

MARGIN, GAIN, WINDOW, AWAY, FLOW, HEAD = "margin", "gain", "window", "away", "flow", "head"
RATIOS = (MARGIN, GAIN, WINDOW, HEAD)  # how many times the next one; shares of inputs: how much more
PAIRS = "pairs"
# A number counts as at least this share of the largest: next to nothing is not infinitely less.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Weights:
    """How much every mark counts, and the evidence of clean networks with these weights.

    Args:
        by_mark: the weights, at least 0; `PAIRS` among them.
        table: the largest evidence of every clean network that has the mark of the last linear layer.
        headless: of those that have not, such as perceptrons and LeNets; all of their marks are smaller.
    """

    by_mark: Mapping[str, float]
    table: Population
    headless: Population

    def tail(self, most: float, classes: int, marks: Iterable[str]) -> float:
        """How often a clean network with so many classes has at least so much evidence by these marks."""
        table = self.table if HEAD in marks else self.headless
        return table.tail(most / table.usual(classes))


@cache
def shipped(null: str = "combined") -> Weights:
    """The weights and the tables that come with the package for this null."""
    raw = json.loads(files("mmbd.null").joinpath(f"{null}.json").read_text(encoding="utf-8"))
    tables = (population_of(raw[name] | {"made_by": raw["made_by"]}) for name in ("table", "headless"))
    return Weights(raw["weights"], *tables)


def population_of(raw: Mapping[str, Any]) -> Population:
    """A table as it is shipped, with the settings of the searches behind it as `made_by`."""
    return Population(raw["scale"], raw["power"], tuple(raw["gaps"]), raw["made_by"])


def standing_out(mark: str, values: Mapping[int, float]) -> dict[int, float]:
    """How far the top class of a mark stands out, by class: 0 for all others; in [0, 3]."""
    ordered = sorted(values, key=lambda label: -values[label])
    found = dict.fromkeys(values, 0.0)
    if len(ordered) < 2 or not values[ordered[0]] > 0:
        return found
    first, second = (values[label] for label in ordered[:2])
    ratio = mark in RATIOS
    found[ordered[0]] = (
        math.log(first / max(second, LEAST_SHARE * first)) if ratio else first - max(second, 0.0)
    )
    return found


def parts(
    marked: Mapping[str, Mapping[int, float]], weights: Mapping[str, float]
) -> dict[str, dict[int, float]]:
    """Each mark's part in the evidence of every class."""
    return {
        mark: {label: weights.get(mark, 0.0) * value for label, value in standing_out(mark, values).items()}
        for mark, values in marked.items()
    }


def evidence_of(each: Mapping[str, Mapping[int, float]], classes: Sequence[int]) -> dict[int, float]:
    """The evidence of every class: the sum of the marks' parts."""
    return {label: math.fsum(part.get(label, 0.0) for part in each.values()) for label in classes}


def judged(evidence: Evidence) -> list[int]:
    """The classes with a margin and a number of every mark."""
    marks = {} if evidence.marks is None else evidence.marks.by_mark
    return [label for label in evidence.tabled.by_class if all(label in one for one in marks.values())]


def of_model(
    evidence: Evidence, but: Sequence[int] = (), weights: Weights | None = None
) -> dict[str, dict[int, float]] | str:
    """Each mark's part in the evidence of every class but some; or why there is none.

    `weights` are those of this null by default.
    """
    weights = weights or shipped()
    if evidence.kind != "image":
        return ONLY_IMAGES
    if evidence.marks is None:
        return evidence.without_marks
    marked, margins = evidence.marks, evidence.tabled
    if joint_key(margins.settings_key, marked.settings_key) != weights.table.settings_key:
        return "the clean networks were measured with other settings than this scan's"
    everything = {MARGIN: margins.by_class, **marked.by_mark}
    kept = [label for label in judged(evidence) if label not in but]
    left = {mark: {label: values[label] for label in kept} for mark, values in everything.items()}
    return parts(left, weights.by_mark)


def values(evidence: Evidence, weights: Weights) -> Mapping[int, float] | str:
    """The evidence of every class; or why there is none."""
    found = of_model(evidence, weights=weights)
    return found if isinstance(found, str) else evidence_of(found, judged(evidence))


def answer(numbers: Sequence[float], evidence: Evidence, weights: Weights, null: str = "combined") -> Test:
    """How rarely a clean network has so much evidence for some class, or for pairs of classes."""
    if stuck(list(evidence.tabled.by_class.values())):
        return Test(null, reason=STUCK)
    assert evidence.marks is not None
    each, _, top = _led(evidence, weights)
    pairs = _of_pairs(evidence.marks, weights)
    most = max(*numbers, pairs)
    p = weights.tail(most, len(numbers), evidence.marks.by_mark)
    return Test(
        null,
        statistic=most,
        p_value=p,
        log10=math.log10(p),
        parameters={**{mark: part.get(top, 0.0) for mark, part in each.items()}, PAIRS: pairs},
    )


def by_pairs(test: Test) -> bool:
    """Whether pairs of classes are what decides, and not the evidence of one class."""
    return test.statistic is not None and test.parameters.get(PAIRS) == test.statistic


def _of_pairs(marked: Marked, weights: Weights) -> float:
    """The evidence of an attack of all classes on all."""
    return weights.by_mark.get(PAIRS, 0.0) * marked.in_pairs


def _led(
    evidence: Evidence, weights: Weights, but: Sequence[int] = ()
) -> tuple[dict[str, dict[int, float]], dict[int, float], int]:
    """The marks' parts, the evidence of every class but some, and the class with most of it."""
    each = of_model(evidence, but, weights)
    assert not isinstance(each, str)
    whole = evidence_of(each, [label for label in judged(evidence) if label not in but])
    return each, whole, max(whole, key=lambda label: whole[label])


def targets(evidence: Evidence, weights: Weights) -> tuple[int, ...]:
    """The top class, and further ones that stand out without it; or what pairs of classes lead to.

    Half of the classes at most are looked at, so each further one has its share of the level.
    """
    found: list[int] = []
    assert evidence.marks is not None
    most = max(1, len(judged(evidence)) // 2)
    while len(found) < most:
        _, whole, top = _led(evidence, weights, but=found)
        if not found and _of_pairs(evidence.marks, weights) > whole[top]:
            return tuple(sorted(set(evidence.marks.pairs.values())))
        left = len(whole)
        if found and (
            left < MIN_CLASSES
            or weights.tail(whole[top], left, evidence.marks.by_mark) > evidence.level / most
        ):
            break
        found.append(top)
    return tuple(found)


COMBINED = Null(
    title="combined",
    basis="clean networks of many kinds, by all marks that a trigger leaves",
    values=lambda evidence: values(evidence, shipped()),
    test=lambda numbers, evidence: answer(numbers, evidence, shipped()),
    by_default=True,
    targets=lambda evidence: targets(evidence, shipped()),
    column="evidence",
)
