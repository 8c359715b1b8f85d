"""A p-value from the marks that a trigger leaves where there are clean samples, against clean networks'.

What the `combined` null is without data, this one is with some samples of each class: one smooth flow to each
class is a mark more (`search.marks_on_samples`). All are added up, and compared, as there; weights and
tables, in `with_samples.json`, are its own. How they were chosen, and how they hold, is in
`benchmarks/study/score_with_samples.py`. Windows on samples instead of made-up inputs were no better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.resources import files

from mmbd.null import combined
from mmbd.null.combined import FLOW, Weights
from mmbd.null.null import Evidence, Marked, Null
from mmbd.results.finding import Test
from mmbd.search.marks_on_samples import Search

NAME = "with-samples"
NO_TABLE = "there is no table of clean networks with samples"


@cache
def shipped() -> Weights | None:
    """The weights and the tables that come with the package; None where none were made yet."""
    there = files("mmbd.null").joinpath("with_samples.json").is_file()
    return combined.shipped("with_samples") if there else None


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
    return combined.answer(numbers, *_both(evidence), NAME)


def _targets(evidence: Evidence) -> tuple[int, ...]:
    return combined.targets(*_both(evidence))


def _both(evidence: Evidence) -> tuple[Evidence, Weights]:
    whole, weights = merged(evidence), shipped()
    assert whole is not None
    assert weights is not None
    return whole, weights


WITH_SAMPLES = Null(
    title="combined, with samples",
    basis="clean networks of many kinds, by all marks that a trigger leaves, and warps of clean samples",
    values=_values,
    test=_test,
    by_default=True,
    targets=_targets,
    column="evidence",
)
