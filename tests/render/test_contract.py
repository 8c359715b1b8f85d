"""What every renderer keeps: any result of its kind becomes a file that is whole, and nothing else."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import junitparser
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import mmbd
from helpers import example_evaluations, example_repairs, example_reports, ruled_reports
from helpers.page_parser import Page
from mmbd.render.save import RENDERERS, Renderer
from mmbd.results import artifacts
from mmbd.results.report import Report

EXAMPLES: dict[str, dict[str, Callable[[], Any]]] = {
    "report": example_reports.ALL,
    "evaluation": example_evaluations.ALL,
    "repair": example_repairs.ALL,
}


def page(text: str) -> None:
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert Page(text).open == []


def plain_json(text: str) -> None:
    json.loads(text, parse_constant=pytest.fail)


def log(text: str) -> None:
    assert json.loads(text, parse_constant=pytest.fail)["version"] == "2.1.0"


def suite(text: str) -> None:
    assert junitparser.JUnitXml.fromstring(text.encode()).tests >= 1


def bill(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def bound(text: str) -> None:
    assert json.loads(text, parse_constant=pytest.fail)["subject"][0]["digest"]


def paragraph(text: str) -> None:
    assert text.startswith("```yaml\n")
    assert "\n## Backdoor scan\n" in text


def tables(text: str) -> None:
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert rows
    assert text.endswith("\n")


def rows_alike(text: str) -> None:
    heading, *rows = csv.reader(io.StringIO(text))
    assert rows
    assert {len(row) for row in rows} == {len(heading)}


# What a whole file of every form is.
WHOLE: dict[tuple[str, str], Callable[[str], None]] = {
    ("report", "html"): page,
    ("report", "json"): plain_json,
    ("report", "sarif"): log,
    ("report", "junit"): suite,
    ("report", "cyclonedx"): bill,
    ("report", "intoto"): bound,
    ("report", "card"): paragraph,
    ("evaluation", "markdown"): tables,
    ("evaluation", "csv"): rows_alike,
    ("evaluation", "json"): plain_json,
    ("evaluation", "html"): page,
    ("repair", "json"): plain_json,
}
CASES = [
    (*key, name)
    for key in RENDERERS
    for name, make in EXAMPLES[key[0]].items()
    if key != ("report", "intoto") or make().model.sha256 is not None
]


def test_every_renderer_is_tested():
    assert set(WHOLE) == set(RENDERERS)
    for row in RENDERERS.values():
        assert row.title
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in row.suffixes)


def test_a_statement_is_of_a_file_that_was_read(tmp_path: Path):
    with pytest.raises(ValueError, match="bound to a file by its digest"):
        mmbd.save(example_reports.not_evaluable(), tmp_path / "x.intoto.json")
    assert not list(tmp_path.iterdir())


def test_a_suffix_means_one_form_of_a_kind():
    counts = Counter((kind, suffix) for (kind, _), row in RENDERERS.items() for suffix in row.suffixes)
    assert max(counts.values()) == 1


@pytest.mark.parametrize(("kind", "form", "name"), CASES)
def test_every_example_becomes_a_whole_file(kind: str, form: str, name: str, tmp_path: Path):
    made, row = EXAMPLES[kind][name](), RENDERERS[kind, form]
    place = tmp_path / f"result{row.suffixes[0]}"
    mmbd.save(made, place)
    WHOLE[kind, form](place.read_text(encoding="utf-8"))
    beside = {place.name}
    if form == "json" and kind == "report" and made.finding.artifacts:
        beside.add(f"result{artifacts.SUFFIX}")
    assert {path.name for path in tmp_path.iterdir()} == beside


@pytest.mark.parametrize(("kind", "form"), RENDERERS)
def test_several_results_go_where_one_file_can_be_about_several(kind: str, form: str, tmp_path: Path):
    row, (made, *_) = RENDERERS[kind, form], EXAMPLES[kind].values()
    place = tmp_path / f"all{row.suffixes[-1]}"
    if row.several:
        mmbd.save([made(), made()], place)
        WHOLE[kind, form](place.read_text(encoding="utf-8"))
    else:
        with pytest.raises(ValueError, match="cannot write 2 results"):
            mmbd.save([made(), made()], place)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", [form for kind, form in RENDERERS if kind == "report"])
def test_an_exception_is_in_every_output_with_its_reason_and_its_end(form: str, tmp_path: Path):
    row, made = RENDERERS["report", form], example_reports.ALL["accepted"]()
    place = tmp_path / f"result{row.suffixes[0]}"
    mmbd.save(made, place)
    text = place.read_text(encoding="utf-8")
    assert "trained by us, flagged for its imbalance" in text
    assert ruled_reports.EXPIRES in text


def drawable() -> list[str]:
    """Examples whose artifacts and numbers a stored report keeps as they are: finite ones."""
    found = {name: make().finding.artifacts for name, make in example_reports.ALL.items()}
    return [
        name
        for name, seen in found.items()
        if seen and name != "unfinished" and all(one.tensor.isfinite().all() for one in seen)
    ]


@pytest.mark.parametrize("name", drawable())
def test_a_stored_report_is_drawn_again_with_the_same_pictures(name: str, tmp_path: Path):
    report = example_reports.ALL[name]()
    for file in ("stored.json", "first.html"):
        mmbd.save(report, tmp_path / file)
    again = Report.load(tmp_path / "stored.json")
    assert again == report
    mmbd.save(again, tmp_path / "second.html")
    first, second = ((tmp_path / file).read_text(encoding="utf-8") for file in ("first.html", "second.html"))
    assert Page(first).all("img") == Page(second).all("img")
    assert first == second


def test_what_is_no_result_and_what_is_no_form_are_said(tmp_path: Path):
    with pytest.raises(TypeError, match=r"expected a result to save \(Evaluation, Repair, Report\), got str"):
        mmbd.save("report", tmp_path / "report.json")
    with pytest.raises(ValueError, match=r"cannot write 'report.pdf': the suffix must be \.html, \.json, "):
        mmbd.save(example_reports.clean(), tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


def test_the_longest_suffix_decides(tmp_path, monkeypatch):
    row = Renderer(Report, (".x.json",), lambda results, _: f"{results[0].verdict}\n", "a line")
    monkeypatch.setitem(RENDERERS, ("report", "line"), row)
    mmbd.save(example_reports.clean(), tmp_path / "R.X.JSON")
    assert (tmp_path / "R.X.JSON").read_text() == "clean\n"
    mmbd.save(example_reports.clean(), tmp_path / "x.json")
    assert Report.load(tmp_path / "x.json").verdict == "clean"
    with pytest.raises(ValueError, match=r"the suffix must be"):
        mmbd.save(example_reports.clean(), tmp_path / ".json")
