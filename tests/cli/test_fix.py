"""`mmbd fix`: methods from the table, triggers that detectors found, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.command_line import caller
from helpers.example_detectors import COUNTING
from helpers.planted_files import planted
from mmbd.detectors import DETECTORS
from mmbd.mitigators import MITIGATORS
from mmbd.search.still_reached import Reach
from mmbd.workflows import repair as fixing
from mmbd.workflows import scan_file as gate

FIX = ["fix", "m.safetensors", "--data", "d.npz", "--per-class", 10, "--no-rescan"]

UNLEARN = ["--method", "unlearning", "--trigger"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DETECTORS, "counting", COUNTING)
    planted(tmp_path / "m.safetensors", gain=1.0)
    labels = np.arange(160) % 8
    x = np.random.default_rng(0).random((160, 16)).astype(np.float32) * 0.2
    x[np.arange(160), labels] = 1
    np.savez(tmp_path / "d.npz", x=x.reshape(-1, 1, 4, 4), y=labels)
    return caller(capsys)


@pytest.fixture
def found(run) -> Path:
    """The report of a detector that found a mask and a pattern."""
    run(
        "scan", "m.safetensors", "--detector", "counting", "--data", "d.npz", "--out", "found.json", "--quiet"
    )
    return Path("found.json")


@pytest.mark.parametrize("name", [name for name, row in MITIGATORS.items() if "trigger" in row.needs])
def test_a_method_that_needs_a_trigger_says_so(run, name):
    code, out, errors = run(*FIX, "--method", name)
    assert (code, out) == (gate.USAGE, "")
    assert f"--method {name} needs the trigger that is to be unlearned: give --trigger" in errors


def test_a_trigger_that_a_detector_found_is_unlearned(run, found, tmp_path):
    code, _, errors = run(
        *FIX, "--method", "unlearning", "--trigger", found, "--out", "r.json", "--quiet", "--keep"
    )
    assert code in (gate.CLEAN, gate.REFUSED), errors
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["record"]["method"] == "unlearning"
    assert record["attack_success"] is None  # what was found is no evidence of what works
    assert (tmp_path / "m.repaired.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--method", "mm-bm", "--trigger", "found.json"], gate.USAGE, "mm-bm takes none"),
        ([*UNLEARN, "plain.json"], gate.USAGE, "this one, of mm-bd, has none"),
        ([*UNLEARN, "gone.json"], gate.FAILED, "gone.json"),
        ([*UNLEARN, "d.npz"], gate.FAILED, "d.npz"),
        (
            ["--method", "unlearning", "--trigger", "found.json", "--option", "trigger=1"],
            gate.USAGE,
            "--trigger FILE",
        ),
        (["--method", "unlerning"], gate.USAGE, "did you mean 'unlearning'?"),
        (["--out", "r.txt"], gate.USAGE, "ends in one of .safetensors, .onnx, .pt2, .pt, .json"),
        (["--out", "found.json", "--trigger", "found.json"], gate.USAGE, "that is an input"),
        (["--out", "-", "--json", "-"], gate.USAGE, "give - once"),
    ],
)
def test_what_cannot_be(run, found, tmp_path, arguments, code, said):
    run("scan", "m.safetensors", "--quiet", "--steps", 2, "--no-universal", "--out", "plain.json")
    before = {path.name for path in tmp_path.iterdir()}
    found_code, out, errors = run(*FIX, *arguments)
    assert (found_code, out) == (code, ""), errors
    assert said in errors
    assert {path.name for path in tmp_path.iterdir()} == before


def test_older_names_of_methods_still_work(run):
    code, out, errors = run(*FIX, "--method", "paper", "--quiet", "--out", "-")
    assert code in (gate.CLEAN, gate.REFUSED), errors
    assert json.loads(out)["record"]["method"] == "mm-bm-paper"


def test_the_scan_before_is_of_the_file(run, tmp_path):
    code, out, errors = run(*FIX[:-1], "--quiet", "--out", "-", "--out", "new.safetensors", "--keep")
    assert code in (gate.CLEAN, gate.REFUSED), errors
    scans = json.loads(out)["scans"]
    assert scans["before"]["model"]["file"] == "m.safetensors"
    assert len(scans["before"]["model"]["sha256"]) == 64
    assert scans["after"]["model"]["file"] is None
    assert run("scan", "new.safetensors", "--quiet", "--as-claimed")[0] in (gate.CLEAN, gate.REFUSED)


@pytest.mark.parametrize(("after", "code"), [(0.02, gate.CLEAN), (0.9, gate.REFUSED), (0.4, gate.REFUSED)])
@pytest.mark.parametrize("keep", [True, False])
def test_only_what_is_shown_to_be_reduced_is_written_unless_asked_for(
    run, tmp_path, monkeypatch, after, code, keep
):
    rows = (Reach("patch", 3, 5.0, 0.95, after, counted=50),)
    monkeypatch.setattr(fixing, "still_reached", lambda *_, **__: rows)
    options = ["--quiet", "--json", "r.json", "--option", "steps=2", *(["--keep"] if keep else [])]
    found, out, errors = run(*FIX, *options)
    assert found == code, errors
    record = json.loads((tmp_path / "r.json").read_text())  # written either way
    assert record["verdict"] == {0.02: "reduced", 0.9: "failed", 0.4: "not shown"}[after]
    assert record["version"] == 2
    assert (tmp_path / "m.repaired.safetensors").exists() is (code == gate.CLEAN or keep)
    assert out.startswith(record["verdict"].upper())
    if code != gate.CLEAN:
        assert ("as --keep asks" if keep else "--keep writes it") in errors


@pytest.mark.parametrize("keep", [True, False])
def test_a_repair_without_data_is_kept_only_if_asked_for(run, tmp_path, monkeypatch, keep):
    rows = (Reach("patch", 3, 5.0, 0.95, 0.02, counted=50),)
    monkeypatch.setattr(fixing, "still_reached", lambda *_, **__: rows)
    options = ["--quiet", "--json", "r.json", "--option", "steps=2", *(["--keep"] if keep else [])]
    code, out, errors = run("fix", "m.safetensors", "--no-data", "--no-rescan", *options)
    assert code == gate.REFUSED, errors
    record = json.loads((tmp_path / "r.json").read_text())
    assert (record["verdict"], record["held_out"]) == ("not shown", 0)
    assert record["drawn"] > 0
    assert "drawn inputs" in out
    assert (tmp_path / "m.repaired.safetensors").exists() is keep


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --data with clean samples, or --no-data"),
        (["--data", "d.npz", "--no-data"], "or --no-data, not both"),
        (["--no-data", "--trigger", "t.safetensors"], "give --held-out"),
    ],
)
def test_samples_or_none_have_to_be_said(run, arguments, said):
    code, _, errors = run("fix", "m.safetensors", *arguments)
    assert code == gate.USAGE
    assert said in errors
