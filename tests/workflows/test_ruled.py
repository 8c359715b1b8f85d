"""Rulings: what passes, what an exception accepts, and what is said of one that does not count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import mmbd
from helpers import example_reports
from mmbd.data.dataset import Dataset
from mmbd.results.report import Report
from mmbd.results.ruling import PolicyException, Ruling
from mmbd.workflows.policy import Policy
from mmbd.workflows.ruled import Accuracy, accuracy, ruled, with_digest

DAY = "2026-11-22"
DIGEST = example_reports.model().sha256
assert DIGEST is not None
EXCEPTION = PolicyException(DIGEST, "we trained it", "2026-11-22")
POLICY = Policy("mmbd.toml", "0" * 64)


def under(report: Report, *exceptions: PolicyException, day: str = DAY, **known) -> Report:
    least = known.pop("least", None)
    policy = replace(POLICY, exceptions=exceptions, minimum_accuracy=least)
    return ruled(report, policy, day=day, **known)


def state(report: Report) -> tuple[str, int]:
    assert report.ruling is not None
    return report.ruling.state, report.exit_code


def notes(report: Report) -> str:
    assert report.ruling is not None
    return "; ".join((*report.ruling.objections, *report.ruling.notes))


def test_without_exceptions_the_scan_decides():
    assert state(under(example_reports.clean())) == ("passed", 0)
    assert state(under(example_reports.backdoored())) == ("rejected", 1)
    assert state(under(example_reports.not_evaluable())) == ("rejected", 3)
    failed = example_reports.not_evaluable().revised(reason="failed: broken")
    assert state(under(failed)) == ("rejected", 2)


def test_an_exception_accepts_up_to_its_last_day_and_no_longer():
    found = under(example_reports.backdoored(), EXCEPTION)
    assert state(found) == ("accepted", 0)
    assert (found.verdict, found.scan_code, found.targets) == ("backdoored", 1, (3,))
    late = under(example_reports.backdoored(), EXCEPTION, day="2026-11-23")
    assert state(late) == ("rejected", 1)
    assert "expired on 2026-11-22 (its reason: we trained it)" in notes(late)


def test_an_exception_is_for_one_model_and_may_be_for_one_verdict():
    assert state(under(example_reports.backdoored(), replace(EXCEPTION, sha256="1" * 64))) == ("rejected", 1)
    narrow = replace(EXCEPTION, verdict="not evaluable")
    found = under(example_reports.backdoored(), narrow)
    assert state(found) == ("rejected", 1)
    assert "is about the verdict 'not evaluable', and this one is 'backdoored'" in notes(found)
    passing = under(example_reports.clean(), EXCEPTION)
    assert state(passing) == ("passed", 0)
    assert "is not needed" in notes(passing)


def test_accuracy_counts_where_it_was_measured():
    low = under(example_reports.clean(), least=0.9, measured=Accuracy(85, 100))
    assert state(low) == ("rejected", 3)
    assert "asks for an accuracy of 90.0% at least, and it is 85.0% of 100 clean samples (95 %: 7" in notes(
        low
    )
    assert state(under(example_reports.clean(), least=0.9, measured=Accuracy(90, 100))) == ("passed", 0)
    unseen = under(example_reports.clean(), least=0.9)
    assert state(unseen) == ("passed", 0)
    assert "was not looked at: no clean samples were given" in notes(unseen)
    accepted = under(example_reports.clean(), EXCEPTION, least=0.9, measured=Accuracy(85, 100))
    assert state(accepted) == ("accepted", 0)


def test_accuracy_is_that_of_the_classifier():
    net = nn.Sequential(nn.Flatten(), nn.Identity())
    classifier = mmbd.Classifier(net, input_shape=(4,))
    samples = Dataset(torch.eye(4), torch.tensor([0, 1, 2, 0]), ("0", "1", "2", "3"))
    assert accuracy(classifier, samples) == Accuracy(3, 4)


def test_models_of_several_files_are_known_by_all_of_them():
    one = example_reports.model(beside={"b": "1" * 64, "a": "2" * 64})
    other = replace(one, beside={"a": "2" * 64, "b": "3" * 64})
    assert len({one.digest, other.digest, one.sha256}) == 3
    assert replace(one, beside={"a": "2" * 64, "b": "1" * 64}).digest == one.digest
    report = replace(example_reports.backdoored(), model=one)
    assert state(under(report, EXCEPTION)) == ("rejected", 1)  # the digest of one of its files does not do


def test_what_could_not_be_read_has_a_digest_unless_it_names_other_files(tmp_path):
    refused = example_reports.not_evaluable()
    (tmp_path / "program.pt").write_bytes(b"abc" * 100)
    found = with_digest(refused, tmp_path / "program.pt").model.sha256
    assert found is not None
    assert len(found) == 64
    (tmp_path / "config.json").write_bytes(b'{"model_type": "vit", "architectures": []}')
    assert with_digest(refused, tmp_path / "config.json").model.sha256 is None
    assert with_digest(refused, tmp_path).model.sha256 is None


def test_a_report_keeps_its_ruling():
    found = under(example_reports.backdoored(), EXCEPTION)
    assert Report.from_json(found.to_json()) == found
    assert '"ruling"' not in example_reports.backdoored().to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "passed"},
        {"state": "accepted"},
        {"state": "accepted", "exception": EXCEPTION, "day": "2026-11-23"},
        {"state": "rejected", "exception": EXCEPTION},
    ],
)
def test_rulings_that_contradict_the_report_or_themselves(changes):
    plain = {"policy": "p", "sha256": "0" * 64, "day": DAY, "state": "rejected"}
    with pytest.raises(ValueError, match=r"the ruling is|expired on"):
        replace(example_reports.backdoored(), ruling=Ruling(**plain | changes))
