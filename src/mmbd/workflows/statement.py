"""An in-toto statement of a scan: which file, by its digest, what came out, and what that was made with.

The predicate is `test-result/v0.1` (https://github.com/in-toto/attestation, spec/predicates). Subjects are
the model's files. `configuration` names what the result depends on, each by its digest: the release, the
detector's settings with its level and seeds, the table of clean networks that the p-value was read from, and
the policy. Beside these fields, `report` holds the stored report (schema 3, without pictures and traces),
from which `mmbd verify` derives the verdict again.

PASSED is clean. WARNED is accepted by an exception of a policy. Everything else is FAILED: a model that could
not be judged must not be admitted by a rule that takes warnings.

A statement is no signature. Whoever can write it can write any; sign it (`cosign attest-blob`,
`model_signing`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.null import tables
from mmbd.results.report import MOST_BYTES, Report

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
ENVELOPE = "application/vnd.in-toto+json"  # of DSSE, around a signed statement
SETTINGS, TABLE, POLICY, RELEASE = "settings", "null table", "policy", "mmbd"


@dataclass(frozen=True)
class Statement:
    """A statement that was read: its JSON, the report inside, and whether it came in a signed envelope."""

    raw: dict[str, Any]
    report: Report
    enveloped: bool = False

    @property
    def digests(self) -> dict[str, str | None]:
        """What the configuration names, by name: SHA-256, or the address of what has none."""
        found: dict[str, str | None] = {}
        for item in self.raw["predicate"]["configuration"]:
            found[item["name"]] = item.get("digest", {}).get("sha256") or item.get("uri")
        return found

    @property
    def subjects(self) -> dict[str, str]:
        """The SHA-256 of every file of the model, by name; the first is the model's own."""
        return {item["name"]: item["digest"]["sha256"] for item in self.raw["subject"]}


def statement(report: Report) -> dict[str, Any]:
    """The statement of a report, JSON-ready.

    Raises:
        ValueError: the report is of no file that was read, so that there is nothing to bind it to.
    """
    model = report.model
    if model.sha256 is None:
        raise ValueError(
            "a statement is bound to a file by its digest, and this report is of none that was read"
        )
    finding = report.finding
    test = f"{report.detector}/{finding.decided_by or 'none'}"
    result = "FAILED"
    if report.exit_code == 0:
        result = "PASSED" if report.scan_code == 0 and not _excepted(report) else "WARNED"
    kept = replace(report, finding=replace(finding, artifacts=(), traces={}))
    return {
        "_type": TYPE,
        "subject": [
            {"name": Path(model.file or model.name).name, "digest": {"sha256": model.sha256}},
            *({"name": name, "digest": {"sha256": digest}} for name, digest in model.beside.items()),
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "result": result,
            "configuration": _configuration(report),
            "passedTests": [test] if result == "PASSED" else [],
            "warnedTests": [test] if result == "WARNED" else [],
            "failedTests": [test] if result == "FAILED" else [],
            "report": json.loads(kept.to_json()),
        },
    }


def _excepted(report: Report) -> bool:
    return report.ruling is not None and report.ruling.exception is not None


def _configuration(report: Report) -> list[dict[str, Any]]:
    version = "" if report.run is None else report.run.versions.get("mmbd", "")
    found: list[dict[str, Any]] = [
        {"name": RELEASE, "uri": f"pkg:pypi/mmbd{f'@{version}' if version else ''}"},
        {"name": SETTINGS, "digest": {"sha256": settings_digest(report)}},
    ]
    table = tables.digest(report.finding.decided_by or "")
    if table is not None:
        found.append({"name": TABLE, "digest": {"sha256": table}})
    if report.ruling is not None:
        found.append({"name": POLICY, "digest": {"sha256": report.ruling.sha256}})
    return found


def settings_digest(report: Report) -> str:
    """The SHA-256 of everything that was chosen for a scan, as canonical JSON."""
    known = {
        "detector": [report.detector, report.version],
        "level": report.level,
        "seeds": list(report.stability.seeds) if report.stability else report.run and [report.run.seed],
        "decided_by": report.finding.decided_by,
        "settings": report.finding.settings,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def read(path: str | Path) -> Statement:
    """A statement of `mmbd`'s, alone or as the payload of a DSSE envelope, whose signature is not checked.

    Raises:
        FileNotFoundError, Failed: it cannot be read, or is none.
    """
    where = reading.named(path)
    try:
        raw: Any = reading.strict_json(reading.text(path, MOST_BYTES))
        enveloped = isinstance(raw, dict) and raw.get("payloadType") == ENVELOPE
        if enveloped:
            raw = reading.strict_json(base64.b64decode(str(raw.get("payload")), validate=True))
        report = _report(raw)
    except (FileNotFoundError, Failed):
        raise
    except (ValueError, RecursionError, UnicodeDecodeError) as error:
        raise Failed(f"{where}: no statement of a scan: {clean_text(error, 300)}") from error
    return Statement(raw, report, enveloped)


def _report(raw: Any) -> Report:
    """The report in a statement whose form has been looked at; ValueError where that is another."""
    if not isinstance(raw, dict) or raw.get("_type") != TYPE:
        raise ValueError(f"expected a statement of {TYPE}")
    if raw.get("predicateType") != PREDICATE:
        raise ValueError(f"expected the predicate {PREDICATE}")
    predicate, subjects = raw.get("predicate"), raw.get("subject")
    if not isinstance(predicate, dict) or not isinstance(predicate.get("report"), dict):
        raise ValueError("the predicate holds no report, which `mmbd scan` puts there")
    named = [item for item in subjects if _named(item)] if isinstance(subjects, list) else []
    if not named or named != subjects or len({item["name"] for item in named}) < len(named):
        raise ValueError("expected subjects with a name of their own and a SHA-256 each")
    if any(Path(item["name"]).name != item["name"] for item in named):
        raise ValueError("a subject's name is a path, expected the plain name of a file")
    parts = predicate.get("configuration")
    if not isinstance(parts, list) or not all(_configures(part) for part in parts):
        raise ValueError("expected a configuration of things with a name, and a SHA-256 or an address")
    return Report.from_json(json.dumps(predicate["report"]))


def _named(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        return False
    digest = item.get("digest")
    return isinstance(digest, dict) and isinstance(digest.get("sha256"), str)


def _configures(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return False
    digest = item.get("digest", {})
    return isinstance(digest, dict) and isinstance(digest.get("sha256", item.get("uri")), str)
