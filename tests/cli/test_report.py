"""`mmbd report`: stored reports shown, judged and written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mmbd
from helpers import example_evaluations, example_repairs
from helpers.command_line import caller
from helpers.planted_files import planted
from mmbd.results.report import Report
from mmbd.workflows import scan_file as gate

OLD = Path(__file__).parents[1] / "detectors" / "frozen_reports.json"  # of schema 2
PICTURES = ".artifacts.safetensors"


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A folder with the reports of two models as scan writes them, and the page of one."""
    from mmbd.cli import main

    folder = tmp_path_factory.mktemp("stored")
    planted(folder / "bad.safetensors", gain=20.0)
    planted(folder / "good.safetensors", gain=1.0)
    (folder / "reports").mkdir()
    for name in ("bad", "good"):
        outs = ["--json", f"{folder}/reports/{name}.json", "--html", f"{folder}/{name}.html"]
        with pytest.raises(SystemExit):
            main(["scan", f"{folder}/{name}.safetensors", "--quiet", "--steps", "4", *outs])
    return folder


@pytest.fixture
def run(stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


@pytest.mark.parametrize(("name", "code"), [("bad", gate.BACKDOORED), ("good", gate.CLEAN)])
def test_a_report_is_shown_as_scan_shows_it_and_ends_by_its_verdict(run, stored, name, code):
    _, scanned, _ = run("scan", stored / f"{name}.safetensors", "--quiet", "--steps", 4)
    assert run("report", stored / f"reports/{name}.json", "--quiet") == (code, scanned, "")
    found, out, _ = run("report", stored / f"reports/{name}.json")
    assert (found, out.splitlines()[0].split()[0]) == (code, "BACKDOORED" if code else "CLEAN")


def test_pages_are_drawn_again_with_their_pictures(run, stored, tmp_path):
    code, _, errors = run("report", stored / "reports/bad.json", "--out", "again.html")
    assert (code, errors) == (gate.BACKDOORED, "")
    assert (tmp_path / "again.html").read_text() == (stored / "bad.html").read_text()


def test_a_folder_of_reports_into_every_form(run, stored, tmp_path):
    (stored / "reports" / "card.json").write_text('{"label": "clean"}')
    code, out, errors = run(
        "report", stored / "reports", "--html", "pages", "--out", "all.sarif", "--out", "j/"
    )
    assert (code, errors) == (gate.BACKDOORED, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["backdoored", "clean"]
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"bad.html", "good.html"}
    assert {path.name for path in (tmp_path / "j").iterdir()} == {
        f"{name}{suffix}" for name in ("bad", "good") for suffix in (".json", PICTURES)
    }
    assert len(json.loads((tmp_path / "all.sarif").read_text())["runs"][0]["results"]) >= 1
    copy = Report.load(tmp_path / "j/bad.json")
    assert copy == Report.load(stored / "reports/bad.json")
    assert len(copy.finding.artifacts) > 0
    # The second time, each replaces its own.
    run("report", stored / "reports", "--html", "pages", "--out", "j/")
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"bad.html", "good.html"}


def test_reports_of_schema_2_are_read(run, tmp_path):
    reports = [entry["report"] for entry in json.loads(OLD.read_text())["reports"][:6]]
    for number, report in enumerate(reports):
        (tmp_path / f"old{number}.json").write_text(json.dumps(report))
        code, out, errors = run("report", f"old{number}.json", "--quiet", "--out", f"new{number}.json")
        assert (out.split(":")[0], errors) == (report["verdict"], "")
        assert code == {"clean": 0, "backdoored": 1, "not evaluable": 3}[report["verdict"]]
        assert json.loads((tmp_path / f"new{number}.json").read_text())["schema"] == 3
    assert {report["schema"] for report in reports} == {2}


def test_printed_json_is_what_was_stored(run, stored):
    _, out, _ = run("report", stored / "reports/bad.json", "--json", "-")
    assert Report.from_json(out) == Report.load(stored / "reports/bad.json")


@pytest.mark.parametrize("flags", [["--out"], ["--json"]])
def test_a_stored_report_is_an_input(run, stored, flags):
    before = (stored / "reports/bad.json").read_bytes()
    code, _, errors = run("report", stored / "reports/bad.json", *flags, stored / "reports/bad.json")
    assert (code, "that is an input" in errors) == (gate.USAGE, True), errors
    assert (stored / "reports/bad.json").read_bytes() == before


def test_what_cannot_be_read_is_told_and_stops_nothing(run, stored, tmp_path):
    (tmp_path / "cut.json").write_text((stored / "reports/bad.json").read_text()[:200])
    good = stored / "reports/good.json"
    code, out, errors = run("report", "cut.json", "gone.json", good, "--out", "pages/", "--quiet")
    assert code == gate.FAILED
    assert out.startswith("clean: ")
    assert [line.split(":")[1].strip() for line in errors.splitlines()] == ["cut.json", "gone.json"]
    assert (tmp_path / "pages" / "good.json").exists()
    assert run("report", "cut.json")[0] == gate.FAILED


def test_pictures_of_another_report_are_left_out(run, stored, tmp_path):
    (tmp_path / "r.json").write_text((stored / "reports/bad.json").read_text().replace("bad.art", "r.art"))
    (tmp_path / f"r{PICTURES}").write_bytes((stored / f"reports/good{PICTURES}").read_bytes())
    code, _, errors = run("report", "r.json", "--out", "r.html")
    assert (code, errors) == (gate.BACKDOORED, "")
    assert len((tmp_path / "r.html").read_text()) < len((stored / "bad.html").read_text())


def test_an_empty_folder(run, tmp_path):
    (tmp_path / "none").mkdir()
    assert run("report", "none") == (gate.FAILED, "", "mmbd: no reports in none\n")


def test_reports_on_one_model_are_told_apart(run, stored, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text((stored / "reports/bad.json").read_text())
    _, out, _ = run("report", "a.json", stored / "reports/good.json", "b.json")
    first, other, second = out.splitlines()
    assert first.removesuffix(" [a.json]") == second.removesuffix(" [b.json]") != first
    assert not other.endswith("]")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (example_repairs.measured, "this is the record of a repair (mmbd fix), expected a report"),
        (example_evaluations.ordinary, "this is an evaluation (mmbd evaluate), expected a report"),
    ],
)
def test_other_results_are_called_by_their_names(run, tmp_path, made, said):
    mmbd.save(made(), tmp_path / "r.json")
    code, out, errors = run("report", "r.json")
    assert (code, out) == (gate.FAILED, "")
    assert errors == f"mmbd: r.json: {said} that mmbd scan has stored\n"
