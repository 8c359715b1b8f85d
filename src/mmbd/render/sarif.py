"""Reports as one SARIF 2.1.0 log, for code scanners and review tools.

A backdoored model is an error, and so is a file that would have to be executed to be read, or that
could not be scanned; a model that could not be judged is a warning. A clean one has no result but
is listed among the artifacts, with its digest. A model that was given twice is there once.

What a policy has against a model beside the scan's verdict is a result of its own. What an exception of the
policy accepts is there all the same, suppressed, with the exception's reason and end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mmbd.base.jsonable import jsonable
from mmbd.base.text import clean_text
from mmbd.render import classes, policy_words, words
from mmbd.results.report import Report

INFORMATION = "https://arxiv.org/abs/2205.06900"  # the paper: what the tool does, and why
WORST = ("clean", "not evaluable", "backdoored")
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES: list[dict[str, Any]] = [
    {
        "id": "MMBD001",
        "name": "BackdooredModel",
        "shortDescription": {"text": "The classifier carries a backdoor."},
        # The full description is what the detectors of the reports say, see `About.rule`.
        "fullDescription": {"text": "The classifier behaves as backdoored ones do."},
        "help": {"text": "Do not deploy the model; find out who trained it, and on which data."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"security-severity": "9.0", "tags": ["security", "machine-learning"]},
    },
    {
        "id": "MMBD002",
        "name": "NotEvaluableModel",
        "shortDescription": {"text": "The classifier could not be judged."},
        "fullDescription": {
            "text": "The file was read, but the detector cannot judge its classifier; the message says why."
        },
        "help": {"text": "Treat the model as not scanned."},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["security", "machine-learning"]},
    },
    {
        "id": "MMBD003",
        "name": "RefusedFile",
        "shortDescription": {"text": "The file was refused: it is more than weights."},
        "fullDescription": {
            "text": "The file holds a program, would have to be executed to be read, or is no safe "
            "format for weights. Nothing in it was executed."
        },
        "help": {"text": "Do not load the file; ask for the weights as safetensors."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"security-severity": "8.0", "tags": ["security", "machine-learning"]},
    },
    {
        "id": "MMBD004",
        "name": "FailedScan",
        "shortDescription": {"text": "The model could not be scanned."},
        "fullDescription": {
            "text": "The file is broken or not there, it does not fit the network or the inputs "
            "given, or the network failed on the way."
        },
        "help": {"text": "Treat the model as not scanned; the message says what was wrong."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "machine-learning"]},
    },
    {
        "id": "MMBD005",
        "name": "AgainstThePolicy",
        "shortDescription": {"text": "The policy objects to the model."},
        "fullDescription": {
            "text": "The model is not what the policy of this gate asks for, whatever the scan says of a "
            "backdoor; the message says in what."
        },
        "help": {"text": "Do not deploy the model; mend it, or let the policy name an exception."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "machine-learning"]},
    },
]
OBJECTION = 4  # the place of the policy's own rule


def sarif(reports: Sequence[Report]) -> str:
    """One SARIF log with a run that holds every report."""
    versions = [report.run.versions.get("mmbd") for report in reports if report.run is not None]
    driver: dict[str, Any] = {"name": "mmbd", "informationUri": INFORMATION, "rules": _rules(reports)}
    if versions and versions[0]:
        driver["version"] = clean_text(versions[0])
    artifacts = _artifacts(reports)
    places = {_identity(artifact): number for number, artifact in enumerate(artifacts)}
    results = _unique(
        [result for report in reports for result in _results(report, places[_identity(_artifact(report))])]
    )
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "artifacts": artifacts,
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=2)


def _rules(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """The rules, the first in the words of the detectors that were asked."""
    said = " ".join(dict.fromkeys(words.about(report).rule for report in reports))
    backdoored, *others = RULES
    return [backdoored | {"fullDescription": {"text": _message(said)}} if said else backdoored, *others]


def _artifacts(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """One a file and digest; of several reports on one, the worst verdict."""
    found: dict[str, dict[str, Any]] = {}
    for report in reports:
        artifact = _artifact(report)
        known = found.setdefault(_identity(artifact), artifact)["properties"]
        known["verdict"] = max(known["verdict"], report.verdict, key=WORST.index)
    return list(found.values())


def _identity(artifact: dict[str, Any]) -> str:
    return json.dumps([artifact["location"], artifact.get("hashes")])


def _results(report: Report, index: int) -> list[dict[str, Any]]:
    """What the scan found, and what the policy objects to; suppressed where an exception accepts it."""
    rule = _rule(report)
    found = [] if rule is None else [_result(report, rule, index)]
    if report.ruling is not None and report.ruling.objections:
        found.append(_base(report, OBJECTION, index, policy_words.brief(report)))
    if report.ruling is not None and report.ruling.exception is not None:
        justification = clean_text(policy_words.first(report), 2000)
        suppression = {"kind": "external", "status": "accepted", "justification": justification}
        found = [result | {"suppressions": [suppression]} for result in found]
    return found


def _unique(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _rule(report: Report) -> int | None:
    """The rule that a report is a result of, by its place; None for a clean model."""
    if report.verdict != "not evaluable":
        return 0 if report.verdict == "backdoored" else None
    reason = report.reason or ""
    return 2 if reason.startswith("refused: ") else 3 if reason.startswith("failed: ") else 1


def _artifact(report: Report) -> dict[str, Any]:
    model = report.model
    artifact: dict[str, Any] = {"location": {"uri": _uri(report)}, "roles": ["analysisTarget"]}
    if model.bytes is not None:
        artifact["length"] = model.bytes
    if model.sha256 is not None:
        artifact["hashes"] = {"sha-256": model.sha256}
    properties: dict[str, Any] = {"verdict": report.verdict}
    if report.claimed:
        properties["claimedByTheFile"] = [clean_text(word) for word in report.claimed]
    return artifact | {"properties": properties}


def _result(report: Report, rule: int, index: int) -> dict[str, Any]:
    test = report.finding.test
    ruled = policy_words.brief(report)
    said = f"{report.verdict.capitalize()}: {words.finding(report)}{f'; {ruled}' if ruled else ''}"
    result = _base(report, rule, index, said) | {
        "properties": {
            "detector": clean_text(report.detector),
            "detectorVersion": report.version,
            "test": None if test is None else clean_text(test.name),
            "pValue": jsonable(report.p_value),
            "statistic": None if test is None else jsonable(test.statistic),
            "threshold": None if test is None else jsonable(test.threshold),
            "level": report.level,
            "ratio": jsonable(classes.ratio(report)),
            "targets": [
                {"class": label, "name": clean_text(report.class_names[label])} for label in report.targets
            ],
        }
    }
    if report.model.sha256 is not None:
        targets = ",".join(str(label) for label in sorted(report.targets))
        result["partialFingerprints"] = {
            "model/v1": f"{report.model.sha256}:{targets}",
            "detector/v1": clean_text(report.detector),
        }
    return result


def _base(report: Report, rule: int, index: int, text: str) -> dict[str, Any]:
    return {
        "ruleId": RULES[rule]["id"],
        "ruleIndex": rule,
        "level": RULES[rule]["defaultConfiguration"]["level"],
        "message": {"text": _message(text)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(report), "index": index},
                    "region": {"startLine": 1},  # the file as a whole; review tools ask for a line
                }
            }
        ],
    }


def _uri(report: Report) -> str:
    """A relative reference: the file as given, or the name of a model that was in memory."""
    path = report.model.file or report.model.name
    path = re.sub("[/\\\\]+", "/", path)
    return quote(path, safe="/", errors="surrogatepass") or "model"


def _message(text: str) -> str:
    """SARIF messages read [text](1) as a link and {0} as a placeholder: neither may be forged."""
    for character in "\\[]":
        text = text.replace(character, "\\" + character)
    return text.replace("{", "{{").replace("}", "}}")
