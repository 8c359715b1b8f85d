"""Reports as JUnit XML, for the test pages of CI systems: one suite, one test case a model and detector.

    clean                                   passes
    backdoored, or against the policy       <failure>
    refused, failed or not evaluable        <error>: these pages show what is skipped as green, and a model
                                            that was not judged must not pass for one that was
    accepted by an exception of a policy    <skipped>, with its reason and its last day

JUnit has no standard; this is the part of it that Jenkins, GitLab and junitparser agree on. Texts are clean
(`clean_text`), as XML 1.0 has no way to write most control characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from mmbd.base.text import clean_text
from mmbd.render import policy_words, words
from mmbd.results.report import Report

SUITE = "mmbd"


def junit(reports: Sequence[Report]) -> str:
    """One XML document that holds every report."""
    cases = [_case(report) for report in reports]
    kinds = [case[0].tag if len(case) else "" for case in cases]
    seconds = sum(report.run.seconds for report in reports if report.run is not None)
    counts = {
        "tests": len(cases),
        "failures": kinds.count("failure"),
        "errors": kinds.count("error"),
        "skipped": kinds.count("skipped"),
    }
    known = {name: str(value) for name, value in counts.items()} | {"time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", known)
    suite = ElementTree.SubElement(root, "testsuite", {"name": SUITE, **known})
    suite.extend(cases)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _case(report: Report) -> ElementTree.Element:
    name = clean_text(report.model.file or report.model.name, 400)
    seconds = 0.0 if report.run is None else report.run.seconds
    known = {"name": name, "classname": f"{SUITE}.{clean_text(report.detector)}", "time": f"{seconds:.3f}"}
    case = ElementTree.Element("testcase", known)
    said = f"{policy_words.verdict(report)}: {words.finding(report)}"
    if kind := _kind(report):
        ruled = policy_words.brief(report)
        made = ElementTree.SubElement(case, kind, {"message": f"{said}{f'; {ruled}' if ruled else ''}"})
        if kind != "skipped":
            made.set("type", policy_words.verdict(report))
            made.text = "\n".join(_details(report))
    ElementTree.SubElement(case, "system-out").text = "\n".join([said, *_details(report)])
    return case


def _kind(report: Report) -> str:
    """What a case holds: nothing where it passes."""
    if report.exit_code == 0:
        return "skipped" if policy_words.accepted(report) else ""
    return "error" if report.verdict == "not evaluable" else "failure"


def _details(report: Report) -> list[str]:
    digest = "" if report.model.sha256 is None else f"SHA-256 {clean_text(report.model.sha256)}"
    return [*filter(None, [words.shown(report), digest]), *policy_words.sentences(report)]
