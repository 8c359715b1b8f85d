"""Scans with clean samples: a warp that is missed without is found and drawn, and nothing else changes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

import mmbd
from helpers.all_to_all_networks import PAIRS, turning
from helpers.horizon_networks import TARGET, horizon_network, horizon_samples
from helpers.patch_networks import patch_prepared
from mmbd.detectors.mm_bd.certainty import BY_ONE_WINDOW
from mmbd.null import combined, with_samples
from mmbd.null.combined import FLOW, Weights
from mmbd.null.settings import joint_key
from mmbd.null.with_samples import BY_PAIRS, NAME, by_pairs_on_samples, samples_key, search_key
from mmbd.render.words import fitted
from mmbd.search.marks_on_samples import Search


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The combined null's weights and a flow's, and exponential evidence."""
    usual = combined.shipped()
    gaps = tuple(sorted(-math.log(1 - (rank + 0.5) / 60) for rank in range(60)))
    margins, marks = json.loads(usual.table.settings_key)
    key = joint_key(margins, samples_key(marks, search_key(Search())))
    made = replace(usual.table, gaps=gaps, settings_key=key)
    found = Weights({**usual.by_mark, FLOW: 1.0}, made, made)
    monkeypatch.setattr(with_samples, "shipped", lambda: found)


def test_a_warp_that_is_missed_without_samples_is_found_and_drawn_with_them():
    model, samples = horizon_network(4.0), horizon_samples()
    alone = mmbd.scan(model)
    assert (alone.verdict, alone.finding.decided_by) == ("clean", "combined")
    report = mmbd.scan(model, samples=samples)
    finding = report.finding
    assert (report.verdict, report.targets, finding.decided_by) == ("backdoored", (TARGET,), NAME)
    parts = finding.test.parameters
    assert parts[FLOW] == max(value for mark, value in parts.items())
    assert finding.shown is not None
    assert (finding.shown.kind, finding.shown.moved, finding.shown.tried) == ("flow", 25, 25)
    flows = next(column for column in finding.columns if column.name == "flow share")
    assert flows.values == (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert finding.facts["samples_used"] == 60
    assert finding.facts["evaluations"] < 3 * alone.finding.facts["evaluations"]
    assert finding.settings["on_samples"]["per_class"] == 10
    assert mmbd.Report.from_json(report.to_json()) == report
    # What needs no samples is what it was.
    assert finding.tests[1:] == alone.finding.tests
    kept = {column.name: column for column in finding.columns}
    for column in alone.finding.columns:
        assert column.name == "evidence" or kept[column.name] == column
    free = mmbd.scan(model, samples=samples, null="combined")
    assert (free.verdict, free.finding.test) == ("clean", alone.finding.test)


def test_pairs_of_classes_are_found_on_samples_and_named_with_the_patch_that_all_share():
    model = turning()
    found = patch_prepared(model, 60)
    report = mmbd.scan(model, samples=(found.inputs, found.labels))
    finding = report.finding
    assert (report.verdict, report.targets) == ("backdoored", tuple(range(6)))
    assert finding.decided_by == NAME
    assert by_pairs_on_samples(finding.test)
    assert finding.facts["pairs"] == "0 -> 1, 1 -> 2, 2 -> 3, 3 -> 4, 4 -> 5, 5 -> 0"
    assert finding.shown is not None
    assert (finding.shown.kind, finding.shown.target, finding.shown.moved) == ("window", None, 60)
    assert "rows 9 to 11, columns 9 to 11" in str(finding.shown.where)
    assert all(PAIRS[before] == after for before, after in finding.shown.examples)
    assert "pairs on samples 1" in fitted(finding.test)
    assert BY_ONE_WINDOW in finding.caveats
    clean = turning(0.0)
    alike = mmbd.scan(clean, samples=(found.inputs, found.labels))
    assert not alike.targets
    assert alike.finding.test.parameters[BY_PAIRS] == 1.0


def test_samples_that_are_of_no_use_are_not_used_and_the_report_says_why():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 6, generator=generator)
    sound = mmbd.Classifier(lambda x: x.flatten(1) @ weight, input_shape=(1, 300), bounds=(-1, 1))
    given = torch.rand(200, 1, 300, generator=generator) * 2 - 1
    report = mmbd.scan(sound, samples=given)
    assert report.finding.decided_by == "bootstrap"
    said = "The clean samples were not used: there are tables of clean networks for images only"
    assert any(caveat.startswith(said) for caveat in report.finding.caveats)
    assert not any("clean samples" in caveat for caveat in mmbd.scan(sound).finding.caveats)
    with pytest.raises(ValueError, match="needs clean samples: there are tables"):
        mmbd.scan(sound, samples=given, null=NAME)


def test_another_null_needs_no_samples_and_says_so():
    model, samples = horizon_network(4.0), horizon_samples()
    report, alone = (mmbd.scan(model, samples=given, null="joint") for given in (samples, None))
    assert report.finding.tests == alone.finding.tests
    assert "The clean samples were not used: what decides here" in report.finding.caveats[0]
    with pytest.raises(ValueError, match="needs clean samples"):
        mmbd.scan(model, null=NAME)


def test_samples_that_cannot_be_of_this_model_are_as_bad_as_for_any_detector():
    model, (inputs, labels) = horizon_network(4.0), horizon_samples()
    with pytest.raises(ValueError, match="expected samples of shape"):
        mmbd.scan(model, samples=(inputs[:, :, 1:], labels))
    report = mmbd.scan(model, samples=(inputs, (labels + 3) % 6))
    assert report.verdict == "not evaluable"
    assert "the classes may be in another order" in str(report.reason)
