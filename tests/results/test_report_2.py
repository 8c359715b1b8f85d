"""Reports of schema 2 are still read, as what they are in schema 3."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mmbd.results.report import Report

KEPT = Path(__file__).parents[1] / "detectors" / "frozen_reports.json"
RAW: list[dict[str, Any]] = [
    entry["report"] for entry in json.loads(KEPT.read_text(encoding="utf-8"))["reports"]
]


def read(raw: dict[str, Any]) -> Report:
    return Report.from_json(json.dumps(raw))


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_nothing_that_it_says_is_lost(raw):
    report = read(raw)
    finding = report.finding
    assert (report.detector, report.version, report.level) == ("mm-bd", 1, raw["level"])
    assert (report.verdict, list(report.targets), report.reason) == (
        raw["verdict"],
        raw["targets"],
        raw["reason"],
    )
    assert (report.p_value, finding.decided_by) == (raw["p_value"], raw["null"])
    assert list(report.statistics) == raw["statistics"]
    assert [test.p_value for test in finding.tests] == [entry["value"] for entry in raw["p_values"]]
    assert [test.log10 for test in finding.tests] == [entry["log10"] for entry in raw["p_values"]]
    gains = finding.column("universal-perturbation gain")
    assert (None if gains is None else list(gains.values)) == raw["gains"]
    if raw.get("evidence") is not None:
        assert list(finding.column(finding.ranked_by).values) == raw["evidence"]
    assert {str(label): list(trace) for label, trace in finding.traces.items()} == raw["curves"]
    assert list(report.caveats) == raw["caveats"]
    assert report.run.seed == raw["run"]["seed"]
    assert finding.facts["evaluations"] == raw["run"]["evaluations"]
    assert finding.settings["maximum_margins"] == raw["run"]["settings"]
    assert Report.from_json(report.to_json()) == report


def test_keys_that_early_reports_of_schema_2_lack():
    raw = copy.deepcopy(RAW[0])
    for key in ("evidence", "claimed"):
        raw.pop(key, None)
    report = read(raw)
    assert report.claimed == ()
    assert report.finding.ranked_by is None
    assert report.finding.ranking[0] == report.targets[0]


def test_classes_are_ranked_by_what_decides_and_those_without_it_come_last():
    raw = copy.deepcopy(RAW[0])
    raw["evidence"][7] = None
    ranking = read(raw).finding.ranking
    assert ranking[-1] == 7
    assert ranking[0] == max(range(10), key=lambda label: raw["evidence"][label] or 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "fine"}, r"report.verdict is 'fine'"),
        ({"targets": [10]}, r"targets \[10\] are not all among 10 classes"),
        ({"class_names": ["a"]}, "classes"),
        ({"p_value": 1.5}, "report.p_value is 1.5, expected at most 1"),
        ({"another": 1}, "report.another is not a known field"),
    ],
)
def test_broken_ones_are_refused_as_before(change, words):
    with pytest.raises(ValueError, match=words):
        read(RAW[0] | change)
