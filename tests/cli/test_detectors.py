"""Any row of DETECTORS on the command line: its options, its samples, and what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import toy_zoos
from helpers.command_line import caller
from helpers.example_detectors import COUNTING
from helpers.planted_files import planted
from mmbd.detectors import DETECTORS
from mmbd.results.report import Report
from mmbd.workflows import scan_file as gate

COUNT = ["--detector", "counting"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DETECTORS, "counting", COUNTING)
    planted(tmp_path / "m.safetensors", gain=1.0)
    samples(tmp_path / "even.npz", np.arange(80) % 8)
    samples(tmp_path / "odd.npz", np.where(np.arange(80) % 8 < 6, 5, np.arange(80) % 8))
    return caller(capsys)


def samples(path: Path, brightest: np.ndarray) -> None:
    """Samples by class 0 to 7, of which the pixel of another class may be the brightest."""
    x = np.zeros((len(brightest), 16), np.float32)
    x[np.arange(len(brightest)), brightest] = 1
    np.savez(path, x=x.reshape(-1, 1, 4, 4), y=np.arange(len(brightest)) % 8)


def test_a_detector_without_its_samples_is_a_usage_error(run):
    code, out, errors = run("scan", "m.safetensors", *COUNT)
    assert (code, out) == (gate.USAGE, "")
    assert errors == (
        "mmbd: counting needs clean samples of the model's task: give --data CLEAN/ "
        "(samples=(inputs, labels) in Python)\n"
    )


@pytest.mark.parametrize(
    ("data", "options", "code", "targets"),
    [
        ("even.npz", [], gate.CLEAN, ()),
        ("odd.npz", [], gate.BACKDOORED, (5,)),
        ("odd.npz", ["--option", "threshold=0.9"], gate.CLEAN, ()),
    ],
)
def test_a_detector_with_samples_is_scanned_with(run, data, options, code, targets):
    found, out, errors = run(
        "scan", "m.safetensors", *COUNT, "--data", data, "--per-class", 3, "--out", "-", *options
    )
    assert (found, errors) == (code, "")
    report = Report.from_json(out)
    assert (report.detector, report.targets) == ("counting", targets)
    assert report.finding.facts["samples_used"] == 24
    assert report.p_value is None


def test_every_output_of_any_detector(run, tmp_path):
    outs = [word for suffix in ("json", "html", "sarif") for word in ("--out", f"r.{suffix}")]
    code, out, errors = run("scan", "m.safetensors", *COUNT, "--data", "odd.npz", *outs)
    assert (code, errors) == (gate.BACKDOORED, "")
    for shown in (out, (tmp_path / "r.html").read_text()):
        assert "share of samples" in shown.lower()
        assert "threshold 0.5" in shown
    stored = Report.load(tmp_path / "r.json")
    assert [artifact.kind for artifact in stored.finding.artifacts] == ["trigger mask", "trigger pattern"]
    assert len(json.loads((tmp_path / "r.sarif").read_text())["runs"][0]["results"]) == 1


def test_samples_are_drawn_by_the_seed(run, tmp_path):
    def shares(seed: int) -> tuple:
        arguments = ["--data", "mixed.npz", "--per-class", 2, "--seed", seed, "--out", "-"]
        return Report.from_json(run("scan", "m.safetensors", *COUNT, *arguments)[1]).statistics

    right, other = np.arange(160) % 8, np.random.default_rng(0).integers(0, 8, 160)
    samples(tmp_path / "mixed.npz", np.where(np.arange(160) % 3, right, other))
    assert shares(1) == shares(1)
    assert len({shares(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize(("data", "said"), [("gone", "gone"), ("broken.npz", "broken.npz")])
def test_samples_that_cannot_be_read_are_a_failure_of_the_scan(run, tmp_path, data, said):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    code, out, _ = run("scan", "m.safetensors", "--quiet", *COUNT, "--data", data)
    assert code == gate.FAILED
    assert out.startswith("not evaluable: m.safetensors: failed: ")
    assert said in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--detector", "mmbd"], "--detector: unknown detector 'mmbd'; did you mean 'mm-bd'?"),
        (["--detector", "mmbd"], "(see: mmbd list detectors)"),
        ([*COUNT, "--data", "even.npz", "--restarts", "2"], "unknown option 'restarts'; known: threshold"),
        ([*COUNT, "--data", "even.npz", "--reference", "x"], "unknown option 'references'; known: threshold"),
        ([*COUNT, "--data", "even.npz", "--option", "treshold=1"], "did you mean 'threshold'?"),
        (["--option", "magic=1"], "unknown option 'magic'; known: method, universal, null"),
        (["--option", "magic"], "expected key=value, got 'magic'"),
        (["--option", "restarts=3", "--restarts", "3"], "--option restarts: --restarts says it already"),
        (["--null", "jiont"], "--null: unknown null 'jiont'; did you mean 'joint'?"),
        (["--option", "null=jiont"], "did you mean 'joint'?"),
        (["--detector", "mm-bd-paper", "--null", "joint"], "needs --universal"),
        (["--detector", "mm-bd-paper", "--null", "combined"], "--null combined needs --universal"),
        (["--null", "with-samples"], "--null with-samples needs --data"),
        (["--per-class", "0"], "--per-class 0: expected at least 1"),
    ],
)
def test_options_that_make_no_sense(run, arguments, said):
    code, out, errors = run("scan", "m.safetensors", *arguments)
    assert (code, out) == (gate.USAGE, ""), errors
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_options_without_a_flag_reach_the_detector(run):
    _, out, errors = run("scan", "m.safetensors", "--option", "patience=3", "--steps", 4, "--out", "-")
    settings = Report.from_json(out).finding.settings
    assert "'patience': 3" in str(settings), errors
    assert "'steps': 4" in str(settings)


def test_presets_of_a_row_are_its_own(run):
    _, out, _ = run("scan", "m.safetensors", "--detector", "mm-bd-bootstrap", "--steps", 4, "--out", "-")
    assert Report.from_json(out).finding.decided_by == "bootstrap"


def test_evaluate_takes_any_detector(run, tmp_path):
    (tmp_path / "zoo").mkdir()
    zoo = toy_zoos.table(tmp_path / "zoo", clean=1, backdoored=1)
    arguments = ["--option", "threshold=0.9", "--workers", 0, "--json", "-", "--data", "even.npz"]
    code, out, errors = run("evaluate", zoo, *COUNT, *arguments)
    assert (code, errors) == (gate.CLEAN, "")
    answers = json.loads(out)["models"]
    assert [answer["detector"] for answer in answers] == ["counting"] * 2
    assert {answer["detection"]["verdict"] for answer in answers} == {"clean"}


def test_evaluate_without_samples_for_any_model_is_a_usage_error(run, tmp_path):
    (tmp_path / "zoo").mkdir()
    zoo = toy_zoos.table(tmp_path / "zoo", clean=1, backdoored=1)  # a table knows no samples
    code, out, errors = run("evaluate", zoo, "--detector", "mm-bd", "counting", "--workers", 0)
    assert (code, out) == (gate.USAGE, "")
    assert errors == (
        "mmbd: counting needs clean samples of the model's task: give --data CLEAN/ "
        "(samples=(inputs, labels) in Python)\n"
    )
    assert not (tmp_path / "zoo-results").exists()


def test_evaluate_says_what_is_not_evaluable_and_why(run, tmp_path):
    (tmp_path / "zoo").mkdir()
    zoo = toy_zoos.table(tmp_path / "zoo", clean=1, backdoored=1)
    samples(tmp_path / "few.npz", np.arange(8))
    code, _, errors = run("evaluate", zoo, *COUNT, "--workers", 0, "--data", "few.npz")
    assert code == gate.CLEAN
    assert [line.partition(": the clean")[0] for line in errors.splitlines()] == [
        f"mmbd: {name}, counting: not evaluable" for name in ("bad0.safetensors", "good0.safetensors")
    ]


def test_evaluate_reads_the_samples_in_every_models_size(run, tmp_path):
    (tmp_path / "zoo").mkdir()
    zoo = toy_zoos.table(tmp_path / "zoo", clean=1, backdoored=0)
    large = np.load(tmp_path / "even.npz")
    wide = large["x"].repeat(2, axis=2).repeat(2, axis=3)
    np.savez(tmp_path / "wide.npz", x=wide, y=large["y"])
    for command in (["scan", "m.safetensors"], ["evaluate", zoo, "--workers", 0]):
        code, _, errors = run(*command, *COUNT, "--data", "wide.npz")
        assert (code, errors) == (gate.CLEAN, "")


@pytest.mark.parametrize("data", ["gone", "broken.npz"])
def test_evaluate_asks_no_model_before_the_samples_can_be_read(run, tmp_path, data):
    (tmp_path / "zoo").mkdir()
    zoo = toy_zoos.table(tmp_path / "zoo", clean=1, backdoored=1)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    code, out, errors = run("evaluate", zoo, *COUNT, "--workers", 0, "--data", data)
    assert (code, out) == (gate.FAILED, "")
    assert data in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "zoo-results").exists()


def test_evaluate_refuses_options_that_a_detector_does_not_take(run, tmp_path):
    (tmp_path / "zoo").mkdir()
    zoo = toy_zoos.table(tmp_path / "zoo", clean=1, backdoored=1)
    code, _, errors = run("evaluate", zoo, "--detector", "mm-bd", "counting", "--option", "threshold=1")
    assert code == gate.USAGE
    assert "--detector mm-bd: unknown option 'threshold'" in errors
