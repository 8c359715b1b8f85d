"""What a policy says of a report, in words that all renderers share: clean text, as `words`.

An exception is never hidden: wherever the verdict stands, what accepts it stands beside it, with its reason
and its last day.
"""

from __future__ import annotations

from mmbd.base.text import clean_text
from mmbd.results.report import Report
from mmbd.results.ruling import Ruling

MOST = 1000  # characters of a sentence
# What a ruling adds to the verdict's word; a rejection adds nothing where the verdict says it all.
ADDED = {"passed": "", "accepted": ", accepted by an exception", "rejected": ""}


def verdict(report: Report) -> str:
    """The verdict, and what a policy makes of it: "backdoored, accepted by an exception"."""
    ruling = report.ruling
    if ruling is None:
        return report.verdict
    if ruling.state == "rejected" and report.verdict == "clean":
        return f"{report.verdict}, rejected by the policy"
    return f"{report.verdict}{ADDED[ruling.state]}"


def rejected(report: Report) -> bool:
    """Whether a policy rejects a model that the scan itself has nothing against."""
    ruling = report.ruling
    return ruling is not None and ruling.state == "rejected" and report.scan_code == 0


def accepted(report: Report) -> bool:
    """Whether an exception accepts what the scan or the policy has against the model."""
    return report.ruling is not None and report.ruling.state == "accepted"


def first(report: Report) -> str:
    """The ruling in a sentence without its full stop; empty without a policy."""
    ruling = report.ruling
    if ruling is None:
        return ""
    policy = f"the policy {clean_text(ruling.policy, 200)}"
    if ruling.exception is not None:
        known = ruling.exception
        return (
            f"accepted by an exception of {policy} until {clean_text(known.expires)}: "
            f"{clean_text(known.reason, MOST)}"
        )
    return f"{ruling.state} by {policy}" if ruling.state == "rejected" else f"passed {policy}"


def sentences(report: Report) -> list[str]:
    """The ruling, what the policy objects to, and what it notes; empty without a policy."""
    ruling = report.ruling
    if ruling is None:
        return []
    said = [first(report), *map(_clean, (*ruling.objections, *ruling.notes))]
    return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in said if sentence]


def brief(report: Report) -> str:
    """The ruling for a line of its own or the end of one; empty where it passed, or without a policy."""
    ruling = report.ruling
    if ruling is None or ruling.state == "passed":
        return "; ".join(_unheeded(ruling)) if ruling is not None else ""
    return "; ".join([first(report), *map(_clean, ruling.objections), *_unheeded(ruling)])


def _unheeded(ruling: Ruling) -> list[str]:
    """What is said of exceptions that do not count."""
    return [_clean(note) for note in ruling.notes if note.startswith("the exception")]


def _clean(text: str) -> str:
    return clean_text(text, MOST)
