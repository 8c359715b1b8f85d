"""A paragraph on a scan for the model's card on the Hugging Face hub, with metadata, to be pasted.

The first block is YAML for the head of the card, between its lines of three dashes; the rest is Markdown for
its text. A scan has no data set, which entries of `model-index` ask for: its task is named as one and the
scan as its "dataset", with the p-value as the metric. Every word from the model is escaped for its format:
JSON strings are YAML strings, and Markdown gets no marks of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from mmbd.base.text import clean_text
from mmbd.render import policy_words, words
from mmbd.results.report import Report

LISTED = 6  # caveats


def card(reports: Sequence[Report]) -> str:
    """Metadata and a paragraph for each report."""
    return "\n".join(_one(report) for report in reports)


def _one(report: Report) -> str:
    run, test = report.run, report.finding.test
    verdict = policy_words.verdict(report)
    said = [
        f"Scanned for backdoors with mmbd{_version(report)}, detector {_plain(report.detector)}"
        f"{'' if run is None else f', on {_plain(run.started)[:10]}'}: **{_plain(verdict)}** "
        f"({_plain(words.finding(report))}).",
        *map(_plain, filter(None, [words.shown(report), words.meaning(report)])),
        *map(_plain, policy_words.sentences(report)),
    ]
    if report.model.sha256 is not None:
        of_all = "" if not report.model.beside else f"; of all its files together `{report.model.digest}`"
        said.append(f"This holds for the file with the SHA-256 `{clean_text(report.model.sha256)}`{of_all}.")
    lines = ["```yaml", *_metadata(report, None if test is None else test.p_value), "```", ""]
    lines += ["## Backdoor scan", "", " ".join(said), ""]
    caveats = [*words.assumed(report), *words.caveats(report)][:LISTED]
    if caveats:
        lines += ["What this scan cannot see, and what to bear in mind:", ""]
        lines += [f"- {_plain(caveat)}" for caveat in caveats]
    return "\n".join(lines) + "\n"


def _metadata(report: Report, p_value: float | None) -> list[str]:
    """The head of the card. JSON's strings are YAML's, so that no name can end one."""
    name = json.dumps(clean_text(report.model.name, 100))
    verdict = json.dumps(policy_words.verdict(report))
    found = [
        "tags:",
        "- backdoor-scan",
        "model-index:",
        f"- name: {name}",
        "  results:",
        "  - task:",
        "      type: image-classification" if len(report.model.input_shape) == 3 else "      type: other",
        "    dataset:",
        '      name: "none: a scan of the model alone"',
        "      type: mmbd-scan",
        "    metrics:",
        "    - type: backdoor-scan",
        f"      name: {json.dumps(f'mmbd {clean_text(report.detector)}, verdict')}",
        f"      value: {verdict}",
    ]
    if p_value is not None:
        title = f"mmbd {clean_text(report.detector)}, p-value at level {report.level:g}"
        found += [
            "    - type: p-value",
            f"      name: {json.dumps(title)}",
            f"      value: {json.dumps(p_value)}",
        ]
    return found


def _version(report: Report) -> str:
    known = "" if report.run is None else report.run.versions.get("mmbd", "")
    return f" {_plain(known)}" if known else ""


def _plain(text: str) -> str:
    """Markdown that shows this text: what could be a mark is escaped, and HTML is text."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&$@])", r"\\\1", clean_text(text, 2000))
