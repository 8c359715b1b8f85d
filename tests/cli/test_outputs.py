"""One way to name outputs: --out by suffix, folders, - to print; and no input is ever overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.command_line import caller
from mmbd.render.save import RENDERERS, Renderer
from mmbd.results.report import Report
from mmbd.workflows import scan_file as gate

PICTURES = ".artifacts.safetensors"


@pytest.fixture
def call(here, capsys):
    run = caller(capsys)
    return lambda *arguments: run(
        *arguments, *(["--steps", 4, "--no-universal"] if "scan" in arguments else [])
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_suffix_is_the_form_and_out_may_be_repeated(call, here):
    outs = [word for name in ("r.json", "r.html", "p.HTM", "r.sarif") for word in ("--out", name)]
    code, _, errors = call("scan", "bad.safetensors", *outs)
    assert (code, errors) == (gate.BACKDOORED, "")
    assert names(here) - {"bad.safetensors", "good.safetensors"} == {
        "r.json",
        f"r{PICTURES}",
        "r.html",
        "p.HTM",
        "r.sarif",
    }
    assert Report.load("r.json").finding.artifacts
    assert (here / "r.html").read_text() == (here / "p.HTM").read_text()


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_takes_one_json_file_a_model(call, here, there):
    if there:
        (here / "out").mkdir()
    code, _, errors = call("scan", "bad.safetensors", "good.safetensors", "--out", "out" if there else "out/")
    assert (code, errors) == (gate.BACKDOORED, "")
    assert names(here / "out") == {
        f"{name}.safetensors{suffix}" for name in ("bad", "good") for suffix in (".json", PICTURES)
    }


def test_a_dash_prints_json(call, here):
    before = names(here)
    code, out, _ = call("scan", "bad.safetensors", "good.safetensors", "--out", "-")
    assert (code, [Report.from_json(json.dumps(one)).verdict for one in json.loads(out)]) == (
        gate.BACKDOORED,
        ["backdoored", "clean"],
    )
    code, out, _ = call("scan", "good.safetensors", "--sarif=-")
    assert json.loads(out)["version"] == "2.1.0"
    assert names(here) == before


def test_a_new_form_is_a_row_and_works_at_once(call, here, monkeypatch):
    row = Renderer(Report, (".txt",), lambda results, path: f"{path.name}: {results[0].verdict}\n", "a line")
    monkeypatch.setitem(RENDERERS, ("report", "text"), row)
    code, _, errors = call("scan", "good.safetensors", "--out", "r.txt")
    assert (code, errors) == (gate.CLEAN, "")
    assert (here / "r.txt").read_text() == "r.txt: clean\n"
    assert ".txt" in call("list", "reports")[1]


def test_a_suffix_may_have_several_parts(call, here, monkeypatch):
    row = Renderer(Report, (".junit.xml",), lambda results, path: "<testsuites/>\n", "for CI")
    monkeypatch.setitem(RENDERERS, ("report", "junit"), row)
    code, _, errors = call("scan", "good.safetensors", "--out", "r.Junit.xml")
    assert (code, errors) == (gate.CLEAN, "")
    assert (here / "r.Junit.xml").read_text() == "<testsuites/>\n"
    code, _, errors = call("scan", "good.safetensors", "--out", "r.xml")
    assert (code, ".junit.xml" in errors) == (gate.USAGE, True)


@pytest.mark.parametrize(
    ("outs", "said"),
    [
        (
            ["--out", "r.txt"],
            "expected a name that ends in one of .html, .htm, .json, .sarif, .junit.xml, .cdx.json, ",
        ),
        (["--out", "nosuffix"], "expected a name that ends in one of"),
        (["--out", "r.json", "--json", "./r.json"], "--out goes there already: two of the outputs"),
        (["--out", "r.json", "--out", "r.json"], "two of the outputs are one file"),
        (["--out", "-", "--json", "-"], "give - once"),
        (["--out", "none/r.json"], "there is no folder none"),
        (["--out", "bad.safetensors"], "expected a name that ends in one of"),
        (["good.safetensors", "--out", "r.html"], "take a folder (a name that ends in /)"),
    ],
)
def test_outputs_that_cannot_be(call, here, outs, said):
    before = names(here)
    code, out, errors = call("scan", "bad.safetensors", *outs)
    assert (code, out) == (gate.USAGE, ""), errors
    assert said in errors
    assert names(here) == before


def test_pictures_overwrite_no_model(call, here):
    shutil.copy("good.safetensors", f"r{PICTURES}")
    model = Path(f"r{PICTURES}").read_bytes()
    code, _, errors = call("scan", f"r{PICTURES}", "--out", "r.json")
    assert (code, "that is an input" in errors) == (gate.USAGE, True), errors
    code, _, errors = call("scan", "bad.safetensors", "--json", "r.json")
    assert code == gate.USAGE
    assert f"its pictures go to r{PICTURES}, which is there and was not written with a report" in errors
    assert Path(f"r{PICTURES}").read_bytes() == model
    assert not (here / "r.json").exists()


def test_pictures_of_an_earlier_report_are_replaced_even_without_it(call, here):
    call("scan", "good.safetensors", "--out", "r.json")
    before = Path(f"r{PICTURES}").read_bytes()
    (here / "r.json").unlink()  # as when the process is killed between the two
    assert call("scan", "bad.safetensors", "--out", "r.json")[0] == gate.BACKDOORED
    assert Path(f"r{PICTURES}").read_bytes() != before
    assert Report.load("r.json").verdict == "backdoored"


def test_a_file_that_cannot_be_written_costs_that_file_alone(call, here, monkeypatch):
    row = RENDERERS["report", "html"]

    def broken(results, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(RENDERERS, ("report", "html"), Renderer(Report, row.suffixes, broken, row.title))
    code, out, errors = call("scan", "good.safetensors", "--out", "r.html", "--out", "r.json")
    assert (code, out.startswith("CLEAN")) == (gate.FAILED, True)
    assert "cannot write r.html: " in errors
    assert Report.load("r.json").verdict == "clean"
