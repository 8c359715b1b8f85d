"""Results to files: one table of what is written in which form, and one verb for all of them.

A new form is a row here and a function that makes its text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbd.base.writing import write_text
from mmbd.evaluation.run import Evaluation
from mmbd.render import evaluation_page, evaluation_text, report_page
from mmbd.render.card import card
from mmbd.render.cyclonedx import cyclonedx
from mmbd.render.junit import junit
from mmbd.render.sarif import sarif
from mmbd.results import artifacts
from mmbd.results.report import Report
from mmbd.workflows.repaired import Repair
from mmbd.workflows.statement import statement


@dataclass(frozen=True)
class Renderer:
    """One form of one kind of result.

    Args:
        result: the kind of result it writes.
        suffixes: of its files, the usual one first.
        text: makes the file's text of the results, given the path that it will have; what belongs
            beside that file is written first, so that a file which names others is never alone.
        several: whether one file can be about several results.
        title: what it is, in a few words.
    """

    result: type[Any]
    suffixes: tuple[str, ...]
    text: Callable[[Sequence[Any], Path], str]
    title: str
    several: bool = False


def _single(make: Callable[[Any], str], end: str = "") -> Callable[[Sequence[Any], Path], str]:
    def text(results: Sequence[Any], path: Path) -> str:
        (result,) = results
        return make(result) + end

    return text


def _report_json(results: Sequence[Report], path: Path) -> str:
    """One report, whose artifacts go into a file beside it."""
    (report,) = results
    return report.to_json(artifacts.write(path, report.finding.artifacts)) + "\n"


def _statement(results: Sequence[Report], path: Path) -> str:
    (report,) = results
    return json.dumps(statement(report), indent=2) + "\n"


def _together(make: Callable[[Sequence[Report]], str]) -> Callable[[Sequence[Report], Path], str]:
    return lambda results, path: make(results) + "\n"


# By kind of result and name; of one kind, no two rows share a suffix.
RENDERERS: dict[tuple[str, str], Renderer] = {
    ("report", "html"): Renderer(
        Report, (".html", ".htm"), _single(report_page.html), "one page, no network"
    ),
    ("report", "json"): Renderer(
        Report, (".json",), _report_json, "everything, for programs; pictures in a file beside it"
    ),
    ("report", "sarif"): Renderer(Report, (".sarif",), _together(sarif), "for code scanners", several=True),
    ("report", "junit"): Renderer(
        Report, (".junit.xml",), _together(junit), "for the test pages of CI systems", several=True
    ),
    ("report", "cyclonedx"): Renderer(
        Report,
        (".cdx.json",),
        _together(cyclonedx),
        "a bill of materials with model cards (CycloneDX 1.6)",
        several=True,
    ),
    ("report", "intoto"): Renderer(
        Report, (".intoto.json",), _statement, "an in-toto statement, for mmbd verify and signing"
    ),
    ("report", "card"): Renderer(
        Report, (".card.md",), _together(card), "a paragraph and metadata for a model card", several=True
    ),
    ("evaluation", "markdown"): Renderer(Evaluation, (".md",), _single(evaluation_text.markdown), "tables"),
    ("evaluation", "csv"): Renderer(
        Evaluation, (".csv",), _single(evaluation_text.comma_separated), "one row a figure"
    ),
    ("evaluation", "json"): Renderer(
        Evaluation, (".json",), _single(evaluation_text.to_json), "everything, for programs"
    ),
    ("evaluation", "html"): Renderer(
        Evaluation, (".html", ".htm"), _single(evaluation_page.html), "one page, no network"
    ),
    ("repair", "json"): Renderer(
        Repair, (".json",), _single(Repair.to_json, "\n"), "everything, for programs"
    ),
}


def by_suffix(rows: Iterable[Renderer], path: Path) -> Renderer | None:
    """The row whose suffix the file's name ends in, the longest first: .junit.xml before .xml."""
    name = path.name.lower()
    fitting = {
        suffix: row
        for row in rows
        for suffix in row.suffixes
        if name.endswith(suffix) and len(name) > len(suffix)
    }
    return fitting[max(fitting, key=len)] if fitting else None


def save(results: Any, path: str | Path) -> None:
    """Write a result to `path`, whole or not at all, in the form of its suffix.

    Args:
        results: a report, an evaluation or a repair; or several reports, for a form that can be
            about several.
        path: the file; its suffix chooses the form, see `RENDERERS`.

    Raises:
        TypeError: something that is no result.
        ValueError: a suffix that this kind of result is not written with, or several results for a
            form that is about one.
    """
    path = Path(path)
    several: Sequence[Any] = results if isinstance(results, list | tuple) else [results]
    kinds = {type(result) for result in several}
    rows = [
        row for row in RENDERERS.values() if kinds and all(issubclass(kind, row.result) for kind in kinds)
    ]
    if not rows:
        names = sorted({row.result.__name__ for row in RENDERERS.values()})
        given = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise TypeError(f"expected a result to save ({', '.join(names)}), got {given}")
    row = by_suffix(rows, path)
    if row is None:
        *others, last = (row.suffixes[0] for row in rows)
        known = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"cannot write {path.name!r}: the suffix must be {known}")
    if len(several) > 1 and not row.several:
        raise ValueError(
            f"cannot write {len(several)} results to {path.name!r}: a {row.suffixes[0]} file is about one"
        )
    write_text(path, row.text(several, path))
