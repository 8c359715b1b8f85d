"""A policy applied to a scan: the ruling that goes into the report, and with it into every output.

A model passes where its scan says "clean" and the policy has no objection. Else an exception for its digest
accepts it, if there is one that has not expired and is about this verdict. Everything else is rejected. An
exception that was there and did not count is told, as somebody may still rely on it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmbd.base import reading
from mmbd.base.intervals import clopper_pearson
from mmbd.results.ruling import PolicyException, Ruling
from mmbd.workflows.policy import Policy, today

if TYPE_CHECKING:
    from mmbd.data.dataset import Dataset
    from mmbd.model.classifier import Classifier
    from mmbd.results.report import Report

CHUNK = 1 << 20


@dataclass(frozen=True)
class Accuracy:
    """How many of how many clean samples a classifier gets right."""

    right: int
    n: int

    def __str__(self) -> str:
        low, high = clopper_pearson(self.right, self.n)
        return f"{self.right / self.n:.1%} of {self.n} clean samples (95 %: {low:.1%} to {high:.1%})"


def accuracy(classifier: Classifier, samples: Dataset) -> Accuracy:
    """The classifier's accuracy on labelled samples, numbered as its classes; one at least."""
    from mmbd.model.forward import classes_of

    right = int((classes_of(classifier, samples.inputs) == samples.labels.cpu()).sum())
    return Accuracy(right, len(samples))


def ruled(
    report: Report, policy: Policy, *, measured: Accuracy | None = None, day: str | None = None
) -> Report:
    """The report with what the policy says of it.

    Args:
        report: of a scan under this policy's settings.
        policy: what it is held against.
        measured: the accuracy on clean samples, where there were any.
        day: YYYY-MM-DD, which exceptions are held against; today by default.
    """
    day = today() if day is None else day
    objections, notes = _accuracy_says(policy, measured)
    exception = policy.exception_for(report.model.digest)
    passed = report.scan_code == 0 and not objections
    accepting = None
    if exception is not None:
        why_not = _does_not_count(exception, report, passed, day)
        if why_not is None:
            accepting = exception
        else:
            notes = (*notes, why_not)
    ruling = Ruling(
        policy=policy.file,
        sha256=policy.sha256,
        day=day,
        state="passed" if passed else "rejected" if accepting is None else "accepted",
        objections=objections,
        notes=notes,
        exception=accepting,
    )
    return replace(report, ruling=ruling)


def _accuracy_says(policy: Policy, measured: Accuracy | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the policy has against the accuracy, and what it notes of it."""
    least = policy.minimum_accuracy
    if least is None:
        return (), ()
    asked = f"the policy asks for an accuracy of {least:.1%} at least"
    if measured is None or not measured.n:
        return (), (f"{asked}, which was not looked at: no clean samples were given (--data)",)
    if measured.right < least * measured.n:
        return (f"{asked}, and it is {measured}",), ()
    return (), (f"{asked}, and it is {measured}",)


def _does_not_count(exception: PolicyException, report: Report, passed: bool, day: str) -> str | None:
    """Why an exception for the model accepts nothing; None where it accepts it."""
    if exception.expired(day):
        return f"the exception for this model expired on {exception.expires} (its reason: {exception.reason})"
    if passed:
        return f"the exception for this model, until {exception.expires}, is not needed: it passes without"
    if exception.verdict not in (None, report.verdict):
        return (
            f"the exception for this model is about the verdict {exception.verdict!r}, and this one is "
            f"{report.verdict!r} (its reason: {exception.reason})"
        )
    return None


def with_digest(report: Report, path: str | Path) -> Report:
    """The report on a file that could not be read as a model, with its digest, so that exceptions find it.

    A file that names others beside it gets none: its own digest would not be the model's.
    """
    from mmbd.formats.table import FORMATS

    if report.model.sha256 is not None or not Path(path).is_file():
        return report
    digest = hashlib.sha256()
    try:
        with reading.opened(path) as file:
            head = chunk = file.read(CHUNK)
            while chunk:
                digest.update(chunk)
                chunk = file.read(CHUNK)
        if any(row.recognise(head) for row in FORMATS.values() if row.neighbours):
            return report
    except (OSError, ValueError):
        return report
    return replace(report, model=replace(report.model, sha256=digest.hexdigest()))
