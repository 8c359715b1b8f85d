"""Stored reports agree with their own statistics; those that somebody changed do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import mmbd
from helpers import example_reports
from helpers.planted_files import planted
from mmbd.results.finding import Finding
from mmbd.results.report import Report
from mmbd.workflows.rederived import Underivable, disagreements

OPTIONS: dict[str, dict[str, Any]] = {
    "combined": {},
    "joint": {"null": "joint"},
    "population": {"universal": False},
    "bootstrap": {"null": "bootstrap", "universal": False},
    "paper": {"null": "paper", "universal": False},
    "seeds": {"seeds": 3, "universal": False},
    "fewer steps": {"steps": 4, "universal": False},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    gains = {"clean": 1.0, "backdoored": 20.0}
    return {
        name: mmbd.load(planted(folder / f"{name}.safetensors", gain=gain)) for name, gain in gains.items()
    }


@pytest.fixture(scope="module")
def found(models) -> Report:
    return mmbd.scan(models["backdoored"])


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["clean", "backdoored"])
def test_a_scan_agrees_with_itself_once_it_is_stored(models, kind, name):
    report = Report.from_json(mmbd.scan(models[kind], **OPTIONS[name]).to_json())
    assert disagreements(report) == []


def with_column(found: Finding, name: str, label: int, value: float) -> Finding:
    columns = [
        replace(one, values=(*one.values[:label], value, *one.values[label + 1 :]))
        if one.name == name
        else one
        for one in found.columns
    ]
    assert tuple(columns) != found.columns
    return replace(found, columns=tuple(columns))


def test_a_changed_statistic_is_found(found):
    for name in ("maximum margin", "universal-perturbation gain", "window lift", "window share", "evidence"):
        changed = replace(found, finding=with_column(found.finding, name, 2, 0.25))
        assert disagreements(changed), name


def test_a_changed_p_value_verdict_target_or_level_is_found(found):
    tests = tuple(
        replace(one, p_value=0.2) if one.name == found.finding.decided_by else one
        for one in found.finding.tests
    )
    (said,) = disagreements(found.revised(tests=tests))
    assert said.startswith("its p-value is 0.2, and its statistics give ")
    said = disagreements(found.revised(verdict="clean", targets=()))
    assert said == ["its verdict is clean, and its statistics give backdoored at its level"]
    assert disagreements(found.revised(targets=(1,))) == [
        "its target classes are [1], and its statistics give [2]"
    ]
    said = disagreements(replace(found, level=1e-12))
    assert "its verdict is backdoored, and its statistics give clean at its level" in said


def test_p_values_of_seeds_have_to_give_that_of_all(models):
    report = mmbd.scan(models["clean"], **OPTIONS["seeds"])
    assert report.stability is not None
    values = (1e-9,) * 3
    (said,) = disagreements(replace(report, stability=replace(report.stability, p_values=values)))
    assert "those of its seeds give 1.5e-09" in said


def test_what_a_report_alone_does_not_tell_is_said(models):
    with pytest.raises(Underivable, match="reference models decide"):
        disagreements(example_reports.reference())
    with pytest.raises(Underivable, match="only MM-BD's"):
        disagreements(replace(example_reports.ALL["neural_cleanse"](), detector="neural-cleanse"))
    with pytest.raises(Underivable, match="default search, whose margins the report does not hold"):
        disagreements(mmbd.scan(models["backdoored"], steps=4))
    assert disagreements(example_reports.not_evaluable()) == []


def test_settings_that_are_no_settings_are_no_traceback(found):
    for settings in ({}, {**found.finding.settings, "maximum_margins": 3}, {"method": "fast"}):
        with pytest.raises(Underivable, match="not whole"):
            disagreements(found.revised(settings=settings))
