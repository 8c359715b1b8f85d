"""Nothing is clean of which a class went unjudged, and claims are in every report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from mmbd.base.errors import Failed, NotEvaluable, TooFewInputs
from mmbd.detectors.believing import of_file
from mmbd.detectors.limit import Watch
from mmbd.detectors.mm_bd import mm_bd as scanning
from mmbd.detectors.mm_bd import search as searching
from mmbd.detectors.mm_bd.meter import Meter
from mmbd.detectors.mm_bd.searched import Searched
from mmbd.detectors.scan import scan
from mmbd.formats.loaded import Loaded
from mmbd.model.classifier import Classifier
from mmbd.render.sarif import sarif
from mmbd.results.report import Report, Verdict
from mmbd.search.ascent import FAST
from mmbd.search.harder import try_harder
from mmbd.search.marks import Marks
from mmbd.search.maximum_margins import maximum_margins
from mmbd.search.universal_data_free import UniversalGains


def classifier() -> Classifier:
    """Six classes, each brighter where its own pixel is."""
    layer = torch.nn.Linear(12, 6)
    with torch.no_grad():
        layer.bias.zero_()
        layer.weight.zero_()
        layer.weight[range(6), range(6)] = torch.linspace(10, 11, 6)
    return Classifier(torch.nn.Sequential(torch.nn.Flatten(), layer), input_shape=(3, 2, 2))


def test_a_class_without_a_gain_leaves_the_verdict_open(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scan(classifier(), null="joint").verdict == "clean"
    whole = searching.universal_gains

    def lacking(*args: Any, **keywords: Any) -> UniversalGains:
        found = whole(*args, **keywords)
        found.added[4] = torch.nan
        return found

    monkeypatch.setattr(searching, "universal_gains", lacking)
    report = scan(classifier(), null="joint")
    assert (report.verdict, report.exit_code) == ("not evaluable", 3)
    assert report.reason == "the margin of class 4 became NaN or infinite under a perturbation"


def test_answers_that_are_not_finite_under_a_window_leave_the_verdict_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A null that sees less must not call the model clean instead."""

    def broken(*_: Any, **__: Any) -> Marks:
        raise NotEvaluable("the network's answers to valid inputs are not all finite")

    monkeypatch.setattr(searching, "marks", broken)
    report = scan(classifier())
    assert (report.verdict, report.exit_code) == ("not evaluable", 3)
    assert "not all finite" in str(report.reason)


def test_a_model_that_makes_too_few_inputs_is_judged_by_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(*_: Any, **__: Any) -> Marks:
        raise TooFewInputs("2 inputs are of fewer than 3 classes")

    monkeypatch.setattr(searching, "marks", few)
    report = scan(classifier())
    assert report.finding.decided_by == "joint"
    asked = scan(classifier(), null="joint")
    assert (report.verdict, report.p_value) == (asked.verdict, asked.p_value)
    unused = next(test for test in report.finding.tests if test.name == "combined")
    assert unused.reason == "2 inputs are of fewer than 3 classes"


def test_so_does_one_that_the_search_beside_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """More restarts reach a class that the default search, which tables judge, does not."""
    assert scan(classifier(), null="joint", restarts=5).verdict == "clean"
    whole = scanning.search

    def lacking(*args: Any, **keywords: Any) -> Searched:
        found = whole(*args, **keywords)
        assert found.default is not None
        found.default.margins.valid[4] = False
        return found

    monkeypatch.setattr(scanning, "search", lacking)
    report = scan(classifier(), null="joint", restarts=5)
    assert report.verdict == "not evaluable"
    assert "no number of 1 of 6 classes (4)" in str(report.reason)


def test_sarif_has_what_is_known_by_the_files_own_word_alone() -> None:
    report = replace(scan(classifier(), null="joint"), claimed=("bounds", "mean"))
    (run,) = json.loads(sarif([report]))["runs"]
    assert run["artifacts"][0]["properties"] == {"verdict": "clean", "claimedByTheFile": ["bounds", "mean"]}


@pytest.mark.parametrize(("verdict", "raised"), [("backdoored", False), ("clean", True)])
def test_what_was_found_stays_where_the_scan_of_the_weights_alone_fails(
    verdict: Verdict, raised: bool
) -> None:
    found = scan(classifier())
    found = found.revised(verdict=verdict, targets=(1,) if verdict == "backdoored" else ())
    bounded, bare = classifier(), classifier()
    loaded = Loaded(bounded, found.model, (), claimed=("bounds on activations",), bare=bare)

    def again(given: Classifier) -> Report:
        if given is bare:
            raise Failed("past the limit")
        return found

    if raised:
        with pytest.raises(Failed, match="past the limit"):
            of_file(loaded, again)
    else:
        assert of_file(loaded, again).targets == (1,)


def test_searching_harder_stops_at_the_limit() -> None:
    watch = Watch(None, 0.5, seeds=1, classes=6)
    meter = Meter(classifier(), watch, FAST, beside=None, default_too=False)
    meter.harder(1)
    watch.start -= 1
    with pytest.raises(Failed, match=r"of 6 classes would take about .*--limit SECONDS"):
        meter.harder(2)


def test_every_evaluation_of_searching_harder_is_told() -> None:
    clf = classifier()
    with torch.no_grad():
        clf.model[1].weight[3:].zero_()  # type: ignore[union-attr, index]
        clf.model[1].bias[3:] = -9.0  # type: ignore[union-attr, index]
    found, told = maximum_margins(clf), list[int]()
    reached = try_harder(clf, found, [3, 4, 5], seed=0, progress=told.append)
    assert reached.fixed == (3, 4, 5)
    assert told == sorted(told)
    assert told[-1] == reached.evaluations > 100
