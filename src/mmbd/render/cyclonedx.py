"""Reports as a CycloneDX 1.6 bill of materials of models (ML-BOM), each with its model card.

A model is a component of type machine-learning-model with its digest. Its card has the verdict's numbers as
performance metrics (the p-value that decides, or the statistic and its threshold), and what the scan cannot
see as technical limitations. A backdoored one is affected by a vulnerability too, as that is where tools that
watch bills of materials look (CWE-506, embedded malicious code); an exception of a policy is its analysis.

The document is written by hand, as no library has model cards, and follows
https://cyclonedx.org/docs/1.6/json/. It is the same for the same reports: its serial number is derived from
them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mmbd.base.text import brief, clean_text
from mmbd.render import policy_words, words
from mmbd.results.report import Report

VERSION = "1.6"
MALICIOUS = 506  # CWE: embedded malicious code


def cyclonedx(reports: Sequence[Report]) -> str:
    """One bill of materials that holds the models of all reports; a model that comes twice is there once."""
    refs = [_ref(report) for report in reports]
    components: dict[str, dict[str, Any]] = {}
    for ref, report in zip(refs, reports, strict=True):
        made = _component(ref, report)
        known = components.setdefault(ref, made)
        if known is not made:  # another report on the same model: its numbers and properties come along
            _merge(known, made)
    found = [_vulnerability(ref, report) for ref, report in zip(refs, reports, strict=True)]
    document: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": VERSION,
        "version": 1,
        "metadata": _metadata(reports),
        "components": list(components.values()),
    }
    if vulnerabilities := [one for one in found if one is not None]:
        document["vulnerabilities"] = vulnerabilities
    serial = uuid5(NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return json.dumps({**document, "serialNumber": f"urn:uuid:{serial}"}, indent=2)


def _metadata(reports: Sequence[Report]) -> dict[str, Any]:
    runs = [report.run for report in reports if report.run is not None]
    tool: dict[str, Any] = {"type": "application", "name": "mmbd"}
    if runs and (version := runs[0].versions.get("mmbd")):
        tool["version"] = clean_text(version)
    found: dict[str, Any] = {"tools": {"components": [tool]}}
    if times := [run.started for run in runs if _is_time(run.started)]:
        found["timestamp"] = max(times)
    return found


def _is_time(text: str) -> bool:
    """Whether a text is a day and a time with its zone, which is all that the schema takes."""
    try:
        return "T" in text and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _ref(report: Report) -> str:
    """A model by its digest, or by its name where it has none."""
    return f"model:{report.model.digest or clean_text(report.model.file or report.model.name, 400)}"


def _component(ref: str, report: Report) -> dict[str, Any]:
    model = report.model
    made: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": clean_text(model.name, 200),
        "properties": _properties(report),
        "modelCard": _card(report),
    }
    if model.sha256 is not None:
        made["hashes"] = [{"alg": "SHA-256", "content": model.sha256}]
    return made


def _card(report: Report) -> dict[str, Any]:
    parameters: dict[str, Any] = {"task": "classification"}
    if report.model.architecture:
        parameters["modelArchitecture"] = clean_text(report.model.architecture, 200)
    if report.model.input_shape:
        shape = " x ".join(map(str, report.model.input_shape))
        parameters["inputs"] = [{"format": shape}]
    if report.class_names:
        parameters["outputs"] = [{"format": f"logits of {len(report.class_names)} classes"}]
    card: dict[str, Any] = {"modelParameters": parameters}
    if metrics := _metrics(report):
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    limits = [*words.assumed(report), *words.caveats(report)]
    if limits:
        card["considerations"] = {"technicalLimitations": limits}
    return card


def _metrics(report: Report) -> list[dict[str, str]]:
    test = report.finding.test
    if test is None:
        return []
    name = f"{clean_text(report.detector)}: {words.title_of(report, test.name)}"
    if words.by_threshold(test):
        sides = {"statistic": test.statistic, "threshold": test.threshold}
        return [{"type": f"{name} {side}", "value": brief(value)} for side, value in sides.items()]
    p_value = [] if test.p_value is None else [{"type": f"{name} p-value", "value": words.p_value(report)}]
    return [*p_value, {"type": f"{name} false-positive rate asked for", "value": brief(report.level)}]


def _properties(report: Report) -> list[dict[str, str]]:
    pairs = [
        ("verdict", policy_words.verdict(report)),
        ("finding", words.finding(report)),
        ("detector", f"{clean_text(report.detector)}, version {report.version}"),
        ("file", clean_text(report.model.file or "", 400)),
        ("format", clean_text(report.model.format or "", 200)),
        *((f"beside:{clean_text(name)}", digest) for name, digest in report.model.beside.items()),
        *(("policy", sentence) for sentence in policy_words.sentences(report)),
    ]
    return [{"name": f"mmbd:{name}", "value": value} for name, value in pairs if value]


def _merge(known: dict[str, Any], more: dict[str, Any]) -> None:
    """Take what a further report on a model adds to its component."""
    known["properties"] += [each for each in more["properties"] if each not in known["properties"]]
    here, there = known["modelCard"], more["modelCard"]
    for part, inside in (
        ("quantitativeAnalysis", "performanceMetrics"),
        ("considerations", "technicalLimitations"),
    ):
        if part in there:
            said = here.setdefault(part, {}).setdefault(inside, [])
            said += [each for each in there[part][inside] if each not in said]


def _vulnerability(ref: str, report: Report) -> dict[str, Any] | None:
    if report.verdict != "backdoored":
        return None
    made: dict[str, Any] = {
        "bom-ref": f"backdoor:{clean_text(report.detector)}:{ref}",
        "id": "MMBD001",
        "source": {"name": "mmbd"},
        "ratings": [{"severity": "critical", "method": "other"}],
        "cwes": [MALICIOUS],
        "description": f"{words.about(report).rule} {words.finding(report)}",
        "affects": [{"ref": ref}],
    }
    if policy_words.accepted(report):
        made["analysis"] = {
            "state": "exploitable",
            "response": ["will_not_fix"],
            "detail": policy_words.first(report),
        }
    return made
