"""What is shown first is part of a report's JSON where it is there, and its inputs lie beside it in pairs."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest
import torch

import mmbd
from helpers import example_reports, shown_reports
from mmbd.results.examples import AFTER, BEFORE, examples_of, pairs_of
from mmbd.results.report import Report, report_schema
from mmbd.results.shown import Shown

VALIDATOR = jsonschema.Draft202012Validator(report_schema())
NAMES = [made.__name__ for made in shown_reports.ALL]


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_report_has_it_and_its_inputs(name, tmp_path):
    report = example_reports.ALL[name]()
    mmbd.save(report, tmp_path / "one.json")
    again = Report.load(tmp_path / "one.json")
    assert again == report
    assert again.finding.shown == report.finding.shown is not None
    VALIDATOR.validate(json.loads((tmp_path / "one.json").read_text()))
    found, given = (pairs_of(one.finding.shown, one.finding.artifacts) for one in (again, report))
    assert len(found) == len(given) > 0
    for pair, wanted in zip(found, given, strict=True):
        assert all(torch.equal(one.tensor, other.tensor) for one, other in zip(pair, wanted, strict=True))


def test_reports_without_it_are_as_they_were():
    """So earlier releases read them, and what they wrote is read."""
    raw = json.loads(example_reports.backdoored().to_json())
    assert "shown" not in raw["finding"]
    assert Report.from_json(json.dumps(raw)).finding.shown is None
    raw["finding"]["shown"] = None
    assert Report.from_json(json.dumps(raw)) == example_reports.backdoored()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "spell"}, "shown.kind is 'spell'"),
        ({"target": 10}, "among 10 classes"),
        ({"target": -1}, "at least 0"),
        ({"examples": [[0, 10]]}, "among 10 classes"),
        ({"examples": [[0]]}, "has 1 items, expected 2"),
        ({"examples": [["0", 1]]}, "expected integer"),
        ({"moved": 21}, "21 of 20 inputs"),
        ({"places": -1}, "at least 0"),
        ({"where": 3}, "expected string"),
        ({"rate": 0}, "at least 1"),
        ({"rate": 10**12}, "at most"),
        ({"another": 1}, "not a known field"),
    ],
)
def test_what_is_wrong_with_it_is_named(change, words):
    raw = json.loads(example_reports.ALL["window"]().to_json())
    raw["finding"]["shown"] |= change
    with pytest.raises(ValueError, match=words):
        Report.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    "change", [{"kind": "spell"}, {"moved": 3, "tried": 2}, {"places": -1}, {"rate": 0}, {"rate": 10**9}]
)
def test_parts_that_contradict_each_other_are_refused(change):
    with pytest.raises(ValueError, match=r"."):
        Shown(**{"kind": "window", "target": 0, "moved": 0, "tried": 1} | change)


def test_inputs_that_do_not_belong_are_not_paired():
    report = example_reports.ALL["window"]()
    shown, artifacts = report.finding.shown, report.finding.artifacts
    assert [(one.kind, other.kind) for one, other in pairs_of(shown, artifacts)] == [(BEFORE, AFTER)] * 3
    assert pairs_of(shown, ()) == []
    assert pairs_of(shown, artifacts[1:]) == []  # one that was not finite is not kept
    assert pairs_of(shown, artifacts[2:]) == []
    assert pairs_of(replace(shown, examples=((1, 3), (5, 3), (9, 3))), artifacts) == []
    other = replace(artifacts[0], tensor=torch.rand(3, 8, 8))
    assert pairs_of(shown, (other, *artifacts[1:])) == []


def test_examples_are_copies():
    before = torch.zeros(1, 4)
    old, new = examples_of(before, before + 1, [(0, 1)])
    before += 5
    assert (old.tensor.tolist(), new.tensor.tolist()) == ([0.0] * 4, [1.0] * 4)
    assert (old.label, new.label) == (0, 1)
