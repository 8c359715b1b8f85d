"""Where reports and repaired models go: looked at before any work, and no result is lost."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.command_line import caller
from helpers.planted_files import planted
from mmbd.cli import naming
from mmbd.results.artifacts import SUFFIX
from mmbd.workflows import scan_file as gate


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    planted(tmp_path / "bad.safetensors", gain=20.0)
    planted(tmp_path / "good.safetensors", gain=1.0)
    np.savez(tmp_path / "d.npz", x=np.zeros((16, 1, 4, 4), np.float32), y=np.arange(16) % 8)
    return tmp_path


def reports(folder: Path) -> set[str]:
    """The names of the reports in a folder, without the files of their pictures."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(SUFFIX)}


@pytest.fixture
def call(here, capsys):
    return caller(capsys)


@pytest.fixture
def no_work(call, monkeypatch):
    """The same, in which any work is an error of the test."""

    def worked(*arguments, **options):
        pytest.fail("work began")

    for place in (
        "mmbd.workflows.scan_file.scan_file",
        "mmbd.workflows.scan_file.references",
        "mmbd.workflows.repair.fix",
        "mmbd.data.read.load",
        "mmbd.evaluation.run.run",
        "mmbd.zoo.train_one.make",
    ):
        importlib.import_module(place.rpartition(".")[0])
        monkeypatch.setattr(sys.modules[place.rpartition(".")[0]], place.rpartition(".")[2], worked)
    return call


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--json", "report.txt"], "a name that ends in .json, or a folder"),
        (["--json", "taken"], "a name that ends in .json, or a folder"),
        (["--json", "nodir/r.json"], "there is no folder nodir"),
        (["--html", "nodir/r.html"], "there is no folder nodir"),
        (["--html", "-"], "--html requires an argument"),
        (["--html=-"], "expected a file or a folder"),
        (["--sarif", "nodir/r.sarif"], "there is no folder nodir"),
        (["--sarif", "good.safetensors"], "a name that ends in .sarif or .json"),
        (["--sarif", "."], "that is a folder"),
        (["--sarif", "/dev/null"], "a name that ends in"),
        (["--json", "pipe.json"], "no regular file"),
        (["--json", "/proc/x.json"], "nothing is written to /proc"),
        (["--json", "names.json", "--class-names", "names.json"], "that is an input, names.json"),
        (["--json", "link.json", "--class-names", "names.json"], "that is an input, names.json"),
        (["--json", "r.json", "--sarif", "r.json"], "--json goes there already"),
        (["--json", "names.json", "--reference", "names.json"], "that is an input"),
        (["good.safetensors", "--json", "one.json"], "take a folder"),
    ],
)
def test_places_of_a_scan_that_cannot_be(no_work, here, flags, said):
    (here / "taken").write_text("precious")
    (here / "names.json").write_text(json.dumps(list("abcdefgh")))
    (here / "link.json").symlink_to("names.json")
    os.mkfifo(here / "pipe.json")
    before = {path.name for path in here.iterdir()}
    code, out, errors = no_work("scan", "bad.safetensors", *flags)
    assert (code, out) == (gate.USAGE, ""), errors
    assert said in errors
    assert {path.name for path in here.iterdir()} == before
    assert (here / "taken").read_text() == "precious"


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--out", "bad.safetensors", "--force"], gate.USAGE, "that is an input"),
        (["--out", "d.npz", "--force"], gate.USAGE, "ends in one of .safetensors, .onnx"),
        (["--out", "good.safetensors"], gate.USAGE, "give --force"),
        (["--out", "nodir/x.pt"], gate.USAGE, "there is no folder nodir"),
        (["--out", "x.pt", "--json", "nodir/r.json"], gate.USAGE, "there is no folder nodir"),
        (["--out", "x.pt", "--json", "r.txt"], gate.USAGE, "ends in .json"),
        (["--out", "x.pt", "--out", "./x.pt"], gate.USAGE, "two of the outputs are one file"),
        (["--out", "folder.pt"], gate.USAGE, "that is a folder"),
        (["--out", "/sys/x.pt"], gate.USAGE, "nothing is written to /sys"),
    ],
)
def test_places_of_a_repair_that_cannot_be(no_work, here, flags, code, said):
    (here / "folder.pt").mkdir()
    before = {path.name for path in here.iterdir()}
    found, out, errors = no_work("fix", "bad.safetensors", "--data", "d.npz", *flags)
    assert (found, out) == (code, ""), errors
    assert said in errors
    assert {path.name for path in here.iterdir()} == before


def test_onnx_that_is_not_installed_is_said_at_once(no_work, monkeypatch):
    real = importlib.import_module

    def without(name, *more):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    code, out, errors = no_work("fix", "bad.safetensors", "--data", "d.npz", "--out", "x.onnx")
    assert (code, out) == (gate.FAILED, "")
    assert "pip install 'mmbd[onnx]'" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "bad.safetensors", "--json", "closed/r.json"],
        ["scan", "bad.safetensors", "--json", "closed"],
        ["scan", "bad.safetensors", "--sarif", "closed/r.sarif"],
        ["fix", "bad.safetensors", "--data", "d.npz", "--out", "closed/x.pt"],
        ["evaluate", ".", "--csv", "closed/x.csv"],
        ["evaluate", ".", "--results", "closed/deep/er"],
    ],
)
def test_a_folder_that_takes_nothing(no_work, here, monkeypatch, arguments):
    (here / "closed").mkdir()
    real = Path.open

    def refused(self, mode="r", *more, **options):
        if "x" in mode and self.parent.name == "closed":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode, *more, **options)

    monkeypatch.setattr(Path, "open", refused)  # root may write anywhere
    code, out, errors = no_work(*arguments)
    assert (code, out) == (gate.FAILED, ""), errors
    assert "cannot write to the folder closed: Permission denied" in errors.replace(f"{here}/", "")


def test_two_models_of_one_name_have_two_reports(call, here):
    for name in ("a", "b"):
        (here / name).mkdir()
    shutil.copy("bad.safetensors", "a/model.safetensors")
    shutil.copy("good.safetensors", "b/model.safetensors")
    models = ["a/model.safetensors", "b/model.safetensors"]
    for _ in range(2):  # the second time, each replaces its own
        code, out, errors = call("scan", *models, "--json", "out", "--html", "out")
        assert code == gate.BACKDOORED
        assert [line.split(": ")[:2] for line in out.splitlines()] == [
            ["backdoored", models[0]],
            ["clean", models[1]],
        ]
        assert "mmbd: a/model.safetensors: report in out/a_model.safetensors.json" in errors
        assert reports(here / "out") == {
            f"{name}_model.safetensors{suffix}" for name in "ab" for suffix in (".json", ".html")
        }
        verdicts = {
            name: json.loads((here / f"out/{name}_model.safetensors.json").read_text()) for name in "ab"
        }
        assert [verdicts[name]["finding"]["verdict"] for name in "ab"] == ["backdoored", "clean"]


def test_a_report_on_another_model_is_kept(call, here):
    for name in ("a", "b"):
        (here / name).mkdir()
        shutil.copy("good.safetensors", f"{name}/model.safetensors")
    for suffix in (".json", ".html"):
        for name in ("a", "b", "a", "b"):
            call("scan", f"{name}/model.safetensors", f"--{suffix[1:]}", "out")
        names = {path.name for path in (here / "out").glob(f"*{suffix}")}
        assert names == {f"model.safetensors{suffix}", f"b_model.safetensors{suffix}"}
    assert json.loads((here / "out/model.safetensors.json").read_text())["model"]["file"] == (
        "a/model.safetensors"
    )


def test_what_is_no_report_is_kept(call, here):
    (here / "out").mkdir()
    (here / "out/good.safetensors.json").write_text("precious")
    assert call("scan", "good.safetensors", "--json", "out")[0] == 0
    assert (here / "out/good.safetensors.json").read_text() == "precious"
    assert len(reports(here / "out")) == 2


def test_a_folder_as_a_model_and_folders_with_dots(call, here, monkeypatch):
    (here / "hub").mkdir()
    (here / "hub/reports.v1").mkdir()
    shutil.copy("good.safetensors", "hub/model.safetensors")
    monkeypatch.chdir(here / "hub")
    for _ in range(2):
        code, _, errors = call("scan", ".", "--json", "reports.v1", "--html", "new")
        assert (code, errors) == (0, "")
    assert reports(here / "hub/reports.v1") == {"hub.json"}
    assert reports(here / "hub/new") == {"hub.html"}


def test_one_model_twice_has_one_report(call, here):
    code, out, errors = call("scan", "good.safetensors", "./good.safetensors", "--json", "out")
    assert (code, errors, len(out.splitlines())) == (0, "", 2)
    assert reports(here / "out") == {"good.safetensors.json"}


def names(*models: str, folder: Path) -> list[str]:
    found = naming.reports([Path(model) for model in models], folder, ".json")
    return [path.name for path in found]


def test_names_of_reports(tmp_path):
    assert names("a/m.pt", "b/n.pt", folder=tmp_path) == ["m.pt.json", "n.pt.json"]
    assert names("a/m.pt", "b/M.PT", folder=tmp_path) == ["a_m.pt.json", "b_M.PT.json"]
    assert names("a/m", "b/m", "a_m", folder=tmp_path)[2] == "a_m.json"
    three = names("a/m", "b/m", "a_m", folder=tmp_path)
    assert len({name.casefold() for name in three}) == 3
    assert names("a/m", "b/m", "a_m", folder=tmp_path) == three
    assert names("../x/m", "/x/m", folder=tmp_path)[1] == "x_m.json"


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[31mred",
        "new\nline",
        "-rf",
        ".hidden",
        "..",
        "a\u202eb",
        "a:b",
        "x" * 255,
        "é" * 127,
        "\udcff\udcfe",
        "~",
        "\u0134" * 100 + "end",
        "con?<>|*",
    ],
)
def test_hostile_names_make_names_that_every_system_takes(tmp_path, name):
    (found,) = names(f"d/{name}", folder=tmp_path)
    assert found.isprintable()
    assert found[0] not in ".-~"
    assert len(found.encode()) <= 240
    assert not set('/\\:*?"<>|') & set(found)
    (tmp_path / found).write_text("")
    pair = names(f"d/{name}", f"d/{name}x", folder=tmp_path / "none")
    assert len(set(pair)) == 2


def test_a_name_of_255_bytes_is_scanned_and_written(call, here):
    name = "é" * 121 + ".safetensors"
    shutil.copy("bad.safetensors", name)
    code, _, errors = call("scan", name, "good.safetensors", "--json", "out", "--sarif", "s.sarif")
    assert code == gate.BACKDOORED, errors
    assert len(reports(here / "out")) == 2
    (result,) = json.loads((here / "s.sarif").read_text())["runs"][0]["results"]
    assert result["level"] == "error"
