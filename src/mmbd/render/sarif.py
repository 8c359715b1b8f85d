"""Reports as one SARIF 2.1.0 log, for code scanners and review tools.

A backdoored model is an error, one that could not be judged a note; a clean one has no result but
is listed among the artifacts, with its digest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mmbd.render import words
from mmbd.render.text import clean_text
from mmbd.report import Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES: list[dict[str, Any]] = [
    {
        "id": "MMBD001",
        "name": "BackdooredModel",
        "shortDescription": {"text": "The classifier carries a backdoor."},
        "fullDescription": {
            "text": "Some class can be pushed to a margin that classes of clean models do not "
            "reach: the mark that training with a trigger leaves (MM-BD, IEEE S&P 2024)."
        },
        "help": {"text": "Do not deploy the model; find out who trained it, and on which data."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"security-severity": "9.0", "tags": ["security", "machine-learning"]},
    },
    {
        "id": "MMBD002",
        "name": "NotEvaluableModel",
        "shortDescription": {"text": "The classifier could not be judged."},
        "help": {"text": "Treat the model as not scanned."},
        "defaultConfiguration": {"level": "note"},
        "properties": {"tags": ["security", "machine-learning"]},
    },
]
FOUND = {"backdoored": (0, "error"), "not evaluable": (1, "note")}


def sarif(reports: Sequence[Report]) -> str:
    """One SARIF log with a run that holds every report."""
    versions = [report.run.versions.get("mmbd") for report in reports if report.run is not None]
    driver: dict[str, Any] = {"name": "mmbd", "rules": RULES}
    if versions and versions[0]:
        driver["version"] = clean_text(versions[0])
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "artifacts": [_artifact(report) for report in reports],
                "results": [
                    _result(report, index)
                    for index, report in enumerate(reports)
                    if report.verdict in FOUND
                ],
            }
        ],
    }
    return json.dumps(log, indent=2)


def _artifact(report: Report) -> dict[str, Any]:
    model = report.model
    artifact: dict[str, Any] = {"location": {"uri": _uri(report)}, "roles": ["analysisTarget"]}
    if model.bytes is not None:
        artifact["length"] = model.bytes
    if model.sha256 is not None:
        artifact["hashes"] = {"sha-256": model.sha256}
    return artifact | {"properties": {"verdict": report.verdict}}


def _result(report: Report, index: int) -> dict[str, Any]:
    rule, level = FOUND[report.verdict]
    result: dict[str, Any] = {
        "ruleId": RULES[rule]["id"],
        "ruleIndex": rule,
        "level": level,
        "message": {"text": _message(f"{report.verdict.capitalize()}: {words.finding(report)}")},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": _uri(report), "index": index}}}
        ],
        "properties": {
            "pValue": _finite(report.p_value),
            "level": report.level,
            "null": None if report.null is None else clean_text(report.null),
            "ratio": _finite(report.ratio),
            "targets": [
                {"class": label, "name": clean_text(report.class_names[label])}
                for label in report.targets
            ],
        },
    }
    if report.model.sha256 is not None:
        targets = ",".join(str(label) for label in sorted(report.targets))
        result["partialFingerprints"] = {"model/v1": f"{report.model.sha256}:{targets}"}
    return result


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


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
