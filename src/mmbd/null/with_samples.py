"""A p-value from the marks that a trigger leaves where there are clean samples, against clean networks'.

What the `combined` null is without data, this one is with some samples of each class: one smooth flow to each
class is a mark more (`search.marks_on_samples`). All are added up, and compared, as there. An attack of all
classes on all leaves nothing but pairs of classes, which count too little in such a sum. So there is a second
look, at the share of the samples that one window takes away by pairs, alone and against that of clean
networks. Each look has its share of the level, the first most of it, and the smaller p-value over its share
decides: together they raise no more false alarms than the level, whatever the one says of the other
(Bonferroni).

Weights, tables and shares, in `with_samples.json`, are its own. How they were chosen, and how they hold, is
in `benchmarks/study/score_with_samples.py`. Windows on samples in the sum, instead of those on made-up
inputs, were no better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files

from mmbd.null import combined
from mmbd.null.combined import FLOW, PAIRS, Weights
from mmbd.null.null import Evidence, Marked, Null
from mmbd.results.finding import Test
from mmbd.search.marks_on_samples import Search

NAME = "with-samples"
NO_TABLE = "there is no table of clean networks with samples"
ON_SAMPLES = "pairs on samples"
# What the two looks say, each p-value over its share of the level, as parameters of the test.
BY_MARKS, BY_PAIRS = "p-value by all marks", "p-value by pairs on samples"


@dataclass(frozen=True)
class Look:
    """The second look: pairs of classes on clean samples.

    Args:
        share: of the level, in (0, 1); the first look has the rest.
        weights: of `PAIRS` alone, with the shares by pairs of clean networks.
    """

    share: float
    weights: Weights


@cache
def shipped() -> Weights | None:
    """The weights and the tables that come with the package; None where none were made yet."""
    there = files("mmbd.null").joinpath("with_samples.json").is_file()
    return combined.shipped("with_samples") if there else None


@cache
def second_look() -> Look:
    """The share of the level and the tables of pairs that come with the package."""
    raw = json.loads(files("mmbd.null").joinpath("with_samples.json").read_text(encoding="utf-8"))
    found, key = raw["pairs"], raw["made_by"]
    whole, headless = (
        combined.population_of(found[name] | {"made_by": key}) for name in ("table", "headless")
    )
    return Look(found["share"], Weights({PAIRS: 1.0}, whole, headless))


def search_key(search: Search) -> str:
    """The settings of the search on samples as one comparable text: all of them."""
    return json.dumps(asdict(search), sort_keys=True)


def samples_key(marks: str, samples: str) -> str:
    """The settings of the search for marks without data and of that on samples as one text."""
    return json.dumps([marks, samples])


def merged(evidence: Evidence) -> Evidence | None:
    """The evidence with the flow on samples as one mark more; None without samples, or without a flow."""
    own, given = evidence.marks, evidence.on_samples
    if own is None or given is None or FLOW not in given.by_mark:
        return None
    marked = Marked(
        {**own.by_mark, FLOW: given.by_mark[FLOW]},
        own.in_pairs,
        own.pairs,
        samples_key(own.settings_key, given.settings_key),
    )
    return replace(evidence, marks=marked)


def _values(evidence: Evidence) -> Mapping[int, float] | str | None:
    whole = merged(evidence)
    if whole is None:
        return None
    weights = shipped()
    return NO_TABLE if weights is None else combined.values(whole, weights)


def _test(numbers: Sequence[float], evidence: Evidence) -> Test:
    first = combined.answer(numbers, *_both(evidence), NAME)
    if first.p_value is None:
        return first
    look, given, own = second_look(), evidence.on_samples, evidence.marks
    assert given is not None
    assert own is not None
    by_marks = first.p_value / (1 - look.share)
    by_pairs = look.weights.tail(given.in_pairs, len(numbers), own.by_mark) / look.share
    p = min(1.0, by_marks, by_pairs)
    looks = {ON_SAMPLES: given.in_pairs, BY_MARKS: min(1.0, by_marks), BY_PAIRS: min(1.0, by_pairs)}
    return replace(
        first,
        statistic=given.in_pairs if by_pairs < min(1.0, by_marks) else first.statistic,
        p_value=p,
        log10=math.log10(p),
        parameters={**first.parameters, **looks},
    )


def by_pairs_on_samples(test: Test) -> bool:
    """Whether the second look decides: pairs of classes on clean samples."""
    marks, pairs = (test.parameters.get(look) for look in (BY_MARKS, BY_PAIRS))
    return marks is not None and pairs is not None and pairs < marks


def _targets(evidence: Evidence) -> tuple[int, ...]:
    numbers = _values(evidence)
    assert isinstance(numbers, Mapping)
    if by_pairs_on_samples(_test(list(numbers.values()), evidence)):
        assert evidence.on_samples is not None
        return tuple(sorted(set(evidence.on_samples.pairs.values())))
    whole, weights = _both(evidence)
    return combined.targets(replace(whole, level=(1 - second_look().share) * whole.level), weights)


def _both(evidence: Evidence) -> tuple[Evidence, Weights]:
    whole, weights = merged(evidence), shipped()
    assert whole is not None
    assert weights is not None
    return whole, weights


WITH_SAMPLES = Null(
    title="combined, with samples",
    basis="clean networks of many kinds, by all marks that a trigger leaves, warps of clean samples among "
    "them, and by pairs of classes on these alone",
    values=_values,
    test=_test,
    by_default=True,
    targets=_targets,
    column="evidence",
)
