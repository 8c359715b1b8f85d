"""What a scan searches for: tables keep their search, and time has a limit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import Failed
from mmbd.base.progress import Progress
from mmbd.model.classifier import Classifier

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
BADNET = EXAMPLES / "badnet-resnet8.safetensors"


@pytest.fixture(scope="module")
def usual() -> mmbd.Report:
    return mmbd.scan(mmbd.load(BADNET))


@pytest.mark.parametrize(
    "more",
    [
        {"restarts": 8},
        {"restarts": 1},
        {"steps": 40},
        {"constraint": "clamp"},
        {"method": "paper", "restarts": 1, "steps": 3},
        {"null": "combined", "restarts": 5},
    ],
    ids=str,
)
def test_other_searches_leave_the_verdict_to_the_tables_own(more, usual):
    report = mmbd.scan(mmbd.load(BADNET), **more)
    assert (report.verdict, report.targets, report.finding.decided_by) == ("backdoored", (1,), "combined")
    assert report.p_value == usual.p_value
    assert report.statistics != usual.statistics
    assert report.finding.column("evidence") == usual.finding.column("evidence")
    assert report.finding.facts["evaluations"] > 0
    assert any("was run beside" in caveat for caveat in report.caveats)


def test_the_joint_null_has_its_own_search_beside():
    usual, more = (mmbd.scan(mmbd.load(BADNET), null="joint", restarts=n) for n in (4, 5))
    assert (more.targets, more.finding.decided_by, more.p_value) == ((1,), "joint", usual.p_value)
    assert more.statistics != usual.statistics
    assert more.finding.column("margin times gain") == usual.finding.column("margin times gain")
    assert any("the joint and the population null judge that one" in caveat for caveat in more.caveats)


def test_the_usual_search_is_not_run_twice(usual):
    same = mmbd.scan(mmbd.load(BADNET), restarts=4, steps=20)
    assert same.finding.facts["evaluations"] == usual.finding.facts["evaluations"]
    assert not any("beside" in caveat for caveat in same.caveats)


def test_a_null_that_was_named_judges_what_was_searched():
    report = mmbd.scan(mmbd.load(BADNET), null="bootstrap", restarts=1)
    assert report.finding.decided_by == "bootstrap"
    assert report.finding.column("universal-perturbation gain") is not None
    if report.verdict == "clean":
        assert any("nothing but this model's own 10 classes" in one for one in report.caveats)


class Slow(nn.Module):
    def __init__(self, classes: int, seconds: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.seconds, self.calls = nn.Linear(16, classes), seconds, 0

    def forward(self, x):
        self.calls += 1
        time.sleep(self.seconds)
        return self.body(x.flatten(1))


def test_a_scan_that_would_take_too_long_is_given_up_at_its_start():
    clf = Classifier(Slow(8, 0.4), input_shape=(1, 4, 4))
    with pytest.raises(Failed, match=r"of 8 classes would take about .*--limit") as raised:
        mmbd.scan(clf, limit=3)
    assert clf.model.calls < 25, clf.model.calls  # all of it takes about a hundred
    assert "gradient evaluations" in str(raised.value)


def test_many_classes_from_a_few_bytes_are_given_up():
    with pytest.raises(Failed, match="20,000 classes"):
        mmbd.scan(Classifier(Slow(20_000), input_shape=(1, 4, 4)), limit=20)


def test_a_scan_within_its_limit_is_as_ever():
    clf = Classifier(Slow(8), input_shape=(1, 4, 4))
    assert mmbd.scan(clf, limit=600).statistics == mmbd.scan(clf).statistics
    for wrong in (0, -1.0):
        with pytest.raises(ValueError, match="limit"):
            mmbd.scan(clf, limit=wrong)


def test_progress_covers_everything():
    told: list[Progress] = []
    report = mmbd.scan(Classifier(Slow(8), input_shape=(1, 4, 4)), seeds=2, progress=told.append)
    assert told[-1].done == report.finding.facts["evaluations"]
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert all(one.done <= one.total for one in told)
    assert {one.unit for one in told} == {"gradient evaluations"}
    assert {one.stage for one in told} == {"maximum margins", "windows and universal perturbations"}
    assert told[0].note == "0 of 8 classes"
    # Both seeds are part of what is expected from the start.
    assert told[0].total >= 2 * 8 * 4 * 20
