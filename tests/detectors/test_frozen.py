"""Scans give what they gave: reports kept from before, equal to the last digit.

Where a scan of images asked for nothing else, the joint null decided, and is asked for now; so is the
bootstrap for sounds, which clears these only then.

The reports are of schema 2, so that reading those is tested too. On a processor or with a torch whose
arithmetic rounds otherwise, numbers may differ in their last digits, and verdicts may not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import mmbd
from helpers import frozen_models
from mmbd.results.finding import Finding
from mmbd.results.report import Report

KEPT = json.loads((Path(__file__).parent / "frozen_reports.json").read_text(encoding="utf-8"))
MADE_WITH = KEPT["made_with"]
# Facts of a run with several seeds are of the seed that is shown; schema 2 had the first one's.
OF_ONE_SEED = ("converged", "zero_gradient")


def same_arithmetic() -> bool:
    return (torch.__version__, torch.backends.cpu.get_cpu_capability()) == (
        MADE_WITH["torch"],
        MADE_WITH["cpu"],
    )


@cache
def references(count: int) -> Any:
    return frozen_models.references(count)


def name(entry: dict[str, Any]) -> str:
    options = "-".join(f"{option}={value}" for option, value in entry["options"].items())
    return f"{entry['model']}-{options or 'default'}-{entry['references']}"


def entries() -> Iterator[Any]:
    """Every kept report; those of bundled files that take longest are for `make test-slow`.

    What options do to a ResNet's report they do to a small CNN's, whose are all here.
    """
    for entry in KEPT["reports"]:
        options = entry["options"].keys()
        bundled = entry["model"].endswith(".safetensors") and "method" not in options
        long = options & {"seeds", "restarts", "seed"} or (options and "resnet8" in entry["model"])
        marks = [pytest.mark.slow] if bundled and long else []
        yield pytest.param(entry, id=name(entry), marks=marks)


@pytest.mark.parametrize("entry", list(entries()))
def test_a_scan_gives_what_it_gave(entry):
    wanted = Report.from_json(json.dumps(entry["report"]))
    options = dict(entry["options"])
    if wanted.finding.decided_by == "joint" or entry["model"].startswith("sound"):
        options["null"] = wanted.finding.decided_by
    if entry["references"]:
        options["references"] = references(entry["references"])
    found = Report.from_json(mmbd.scan(frozen_models.model(entry["model"]), **options).to_json())
    assert found.verdict == wanted.verdict
    assert found.targets == wanted.targets
    assert found.finding.decided_by == wanted.finding.decided_by
    if not same_arithmetic():
        assert found.p_value == pytest.approx(wanted.p_value, rel=0.5)
        return
    assert numbers(found.finding) == numbers(wanted.finding)
    assert found.stability == wanted.stability
    left_out = OF_ONE_SEED if entry["options"].get("seeds", 1) > 1 else ()
    for fact, value in wanted.finding.facts.items():
        assert fact in left_out or found.finding.facts[fact] == value


def numbers(finding: Finding) -> dict[str, Any]:
    """Everything that a verdict rests on; tests by name, as their order has changed."""
    return {
        "tests": {test.name: test for test in finding.tests if test.name != "combined"},
        "columns": finding.columns,
        "ranking": (finding.ranking, finding.ranked_by, finding.score),
        "traces": finding.traces,
        "caveats": finding.caveats,
        "settings": finding.settings,
        "reason": finding.reason,
    }


def test_the_kept_reports_are_of_every_verdict_kind_of_input_and_null():
    reports = [Report.from_json(json.dumps(entry["report"])) for entry in KEPT["reports"]]
    assert {report.verdict for report in reports} == {"clean", "backdoored", "not evaluable"}
    decided = {report.finding.decided_by for report in reports}
    assert decided >= {"joint", "population", "bootstrap", "reference", "paper", "authors"}
    assert {len(report.model.input_shape) for report in reports} == {1, 2, 3}
