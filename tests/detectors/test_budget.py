"""A budget of time: what fits is done, what does not is said, and nothing is clean for want of time."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mmbd
from helpers.planted import PIXELS
from mmbd.base.progress import Progress
from mmbd.base.text import seconds as spelled
from mmbd.detectors import DETECTORS
from mmbd.detectors.detector import About, Detector
from mmbd.detectors.mm_bd import budget as budgets
from mmbd.detectors.scan import ScanOptions
from mmbd.model.classifier import Classifier
from mmbd.null.references import References
from mmbd.results.finding import Finding
from mmbd.search.ascent import FAST
from mmbd.search.marks import marks_evaluations

SEARCH = FAST.steps  # gradient evaluations of a search, at the most


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still, and a second for every gradient evaluation."""
    monkeypatch.setattr(budgets, "_pace", lambda *_: 1.0)
    monkeypatch.setattr(budgets, "time", SimpleNamespace(perf_counter=lambda: 0.0))


def test_a_budget_that_holds_everything_changes_nothing() -> None:
    whole, within = mmbd.scan(PIXELS.clean()), mmbd.scan(PIXELS.clean(), budget=3600.0)
    assert within.verdict == whole.verdict
    assert whole.finding.decided_by == "combined"
    assert within.finding.columns == whole.finding.columns
    assert within.finding.tests == whole.finding.tests
    assert within.finding.caveats == whole.finding.caveats
    assert within.finding.settings["budget"] == {"seconds": 3600.0, "left_out": None}


@pytest.mark.parametrize("over", ["forecast", "on the way"])
def test_without_universal_perturbations_nothing_is_clean(monkeypatch: pytest.MonkeyPatch, over: str) -> None:
    if over == "forecast":
        monkeypatch.setattr(budgets.Budget, "fits", lambda *_: False)
    else:

        def raises(*_: Any) -> None:
            raise budgets.Over

        monkeypatch.setattr(budgets.Budget, "check", raises)
    report = mmbd.scan(PIXELS.clean(), budget=3600.0, batch=10)
    assert (report.verdict, report.exit_code) == ("not evaluable", 3)
    assert "left no time for universal perturbations" in str(report.reason)
    assert report.finding.column("evidence") is None
    assert report.finding.decided_by == "population"
    # The margins are those of a whole scan.
    assert report.statistics == mmbd.scan(PIXELS.clean(), batch=10).statistics
    found = mmbd.scan(PIXELS.backdoored(), budget=3600.0, batch=10)
    assert (found.verdict, found.targets) == ("backdoored", (PIXELS.target,))
    assert found.finding.decided_by == "population"
    assert any(line.startswith("The budget of 1 h 0 min left no time") for line in found.finding.caveats)


def test_references_need_no_universal_perturbations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets.Budget, "fits", lambda *_: False)
    reports = [(seed, mmbd.scan(PIXELS.clean(), seed=seed, universal=False)) for seed in range(19)]
    references = References.from_reports(reports)
    model = torch.nn.Sequential(PIXELS.clean().model, torch.nn.Identity())
    report = mmbd.scan(mmbd.Classifier(model, input_shape=(1, 4, 4)), budget=60.0, references=references)
    assert report.finding.decided_by == "reference"
    assert report.finding.no_verdict is None
    assert report.finding.not_clean is None
    assert "left no time for universal" in str(report.finding.caveats)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("restarts", [1, 3])
def test_then_restarts_are_left_out_of_every_class(restarts: int) -> None:
    seconds = 8 * SEARCH * restarts / budgets.SAFE + 1
    report = mmbd.scan(PIXELS.clean(), budget=seconds)
    assert report.verdict == "not evaluable"
    assert f"searched from {restarts} of 4 starts" in str(report.reason)
    assert report.finding.settings["maximum_margins"]["restarts"] == restarts
    assert report.finding.facts["searches"] == 8 * restarts
    assert None not in report.statistics


@pytest.mark.usefixtures("second")
def test_then_classes_which_the_seed_draws() -> None:
    seconds = 6 * SEARCH / budgets.SAFE + 1
    first, again, other = (mmbd.scan(PIXELS.clean(), budget=seconds, seed=seed) for seed in (0, 0, 1))
    searched = [
        {c for c, value in enumerate(r.statistics) if value is not None} for r in (first, again, other)
    ]
    assert [len(some) for some in searched] == [6, 6, 6]
    assert searched[0] == searched[1] != searched[2]
    assert first.verdict == "not evaluable"
    assert "let 6 of 8 classes be searched" in str(first.reason)
    assert first.finding.facts["searches"] == 6


@pytest.mark.usefixtures("second")
def test_too_few_classes_say_nothing_and_how_long_a_scan_takes() -> None:
    report = mmbd.scan(PIXELS.clean(), budget=4.9 * SEARCH / budgets.SAFE)
    assert report.verdict == "not evaluable"
    assert "suffices for 4 of 8 classes, and a null needs at least 5" in str(report.reason)
    needed = (8 * 4 * SEARCH + budgets.UNIVERSAL * marks_evaluations(8)) / budgets.SAFE
    assert f"about {spelled(needed)} here" in str(report.reason)
    gains = budgets.universal_evaluations(8)
    assert gains == 2 * 10 * (8 * (1 + 2 * 4) + 20)
    needed = (8 * 4 * SEARCH + budgets.UNIVERSAL * gains) / budgets.SAFE
    joint = mmbd.scan(PIXELS.clean(), budget=4.9 * SEARCH / budgets.SAFE, null="joint")
    assert f"about {spelled(needed)} here" in str(joint.reason)


def test_the_pace_is_seconds_a_gradient_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes two seconds for every evaluation that the search reports."""
    clock = SimpleNamespace(now=0.0)
    whole = budgets.maximum_margins

    def timed(*args: Any, progress: Any, **keywords: Any) -> Any:
        def tell(step: Progress) -> None:
            clock.now = 100.0 + 2.0 * step.done  # the first hundred to warm up
            progress(step)

        return whole(*args, progress=tell, **keywords)

    monkeypatch.setattr(budgets, "maximum_margins", timed)
    monkeypatch.setattr(budgets, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    assert budgets.plan(PIXELS.clean(), 1e6, seed=0).pace == pytest.approx(2.0)


def test_seeds_share_the_budget() -> None:
    given: list[float] = []

    def find(*_: Any, budget: float, **__: Any) -> Finding:
        given.append(budget)
        return Finding("not evaluable", reason="none")

    row = Detector(find, 1, About("thrifty"))
    mmbd.scan(PIXELS.clean(), detector=row, seeds=3, budget=1e6)
    assert [round(1e6 / one) for one in given] == [3, 2, 1]


def test_progress_expects_what_was_planned(second: None) -> None:
    totals: list[int] = []
    mmbd.scan(
        PIXELS.clean(), budget=6 * SEARCH / budgets.SAFE + 1, progress=lambda step: totals.append(step.total)
    )
    assert max(totals) <= 6 * SEARCH


def test_the_time_left_knows_that_universal_perturbations_take_longer() -> None:
    steps: list[Progress] = []
    mmbd.scan(PIXELS.clean(), progress=steps.append, seeds=2)
    first = steps[0]
    margins, universal = 8 * 4 * SEARCH, marks_evaluations(8)
    one = first.seconds * (margins + budgets.UNIVERSAL * universal) / first.done  # of the two seeds
    assert first.total == 2 * (margins + universal)
    assert first.seconds_left == pytest.approx(2 * one, rel=0.2)
    assert first.seconds_left > 1.1 * first.seconds * (first.total - first.done) / first.done
    assert steps[-1].done <= steps[-1].total
    # Settling took less than it may, and nothing else is left.
    assert steps[-1].seconds_left <= steps[-1].seconds * 2 * 400 * budgets.UNIVERSAL / steps[-1].done


@pytest.mark.parametrize("budget", [0, -1.0, math.nan, math.inf])
def test_senseless_budgets_are_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="budget must be more than 0 seconds"):
        ScanOptions(budget=budget)


def test_a_budget_is_of_the_default_search_alone() -> None:
    for detector, options in (
        ("mm-bd", {"restarts": 8}),
        ("mm-bd", {"method": "paper"}),
        ("mm-bd-paper", {}),
    ):
        with pytest.raises(ValueError, match="a budget chooses how much of the default search is done"):
            ScanOptions(detector, options=options, budget=60.0)
    others = [name for name, row in DETECTORS.items() if not row.takes_budget]
    assert "neural-cleanse" in others
    with pytest.raises(ValueError, match="neural-cleanse takes no budget"):
        ScanOptions("neural-cleanse", budget=60.0)
    with pytest.raises(ValueError, match="unknown option 'budget'"):  # stored results would depend on time
        ScanOptions(options={"budget": 60.0})


def test_a_race_needs_less_time_and_is_run_where_there_is_time_for_it():
    weights = torch.randn(40, 192, generator=torch.Generator().manual_seed(0))
    many = Classifier(lambda x: (x - 0.5).flatten(1) @ weights.T, input_shape=(3, 8, 8))
    whole = mmbd.scan(many, budget=600.0)
    assert whole.finding.facts["classes_searched_to_the_end"] == 30
    assert whole.finding.decided_by == "combined"
    lifts = whole.finding.column("window lift").values
    assert sum(value is not None for value in lifts) == 20
    assert None not in whole.finding.column("window share").values
    assert whole.finding == mmbd.Report.from_json(whole.to_json()).finding
    assert whole.finding.settings["budget"] == {"seconds": 600.0, "left_out": None}
    assert whole.verdict == mmbd.scan(many).verdict
