"""The command line as a user meets it: real processes, every exit code, files and streams."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import toy_networks
from helpers.own_process import mmbd
from helpers.planted_files import planted
from mmbd.results.report import Report
from mmbd.workflows import scan_file as gate

GAIN = "universal-perturbation gain"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    files = {
        "clean": planted(folder / "clean.safetensors", gain=1.0),
        "backdoored": planted(folder / "backdoored.safetensors", gain=20.0),
        "few": planted(folder / "few.safetensors", gain=1.0, classes=3),
        "refused": folder / "refused.pt",
        "broken": folder / "broken.safetensors",
    }
    with files["refused"].open("wb") as file:
        pickle.dump(nn.Linear, file)
    files["broken"].write_bytes(b"\x10\0\0\0\0\0\0\0{")
    return files


@pytest.mark.parametrize(
    ("name", "code"), [("clean", 0), ("backdoored", 1), ("broken", 2), ("refused", 3), ("few", 3)]
)
def test_exit_codes(files, name, code):
    done = mmbd("scan", files[name])
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan"],
        ["scan", "x", "--no-such-flag"],
        ["scan", "x", "--method", "slow"],
        ["scan", "x", "--level", "2"],
        ["scan", "x", "--input", "3x?"],
        ["scan", "x", "--arch-arg", "width"],
        ["scan", "x", "--batch", "0"],
        ["scan", "x", "--seeds", "0"],
        ["scan", "x", "y", "--json", "one.json"],
        ["scan", "x", "--null", "reference"],
        ["nonsense"],
    ],
)
def test_usage(files, arguments, tmp_path):
    arguments = [files["clean"] if word == "x" else word for word in arguments]
    done = mmbd(*arguments, cwd=tmp_path)
    assert done.returncode == gate.USAGE, done.stdout + done.stderr
    assert done.stderr.startswith("mmbd: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_missing_file():
    done = mmbd("scan", "no-such-file.safetensors")
    assert done.returncode == gate.FAILED
    assert "no-such-file.safetensors" in done.stdout


def test_the_worst_model_decides_and_each_gets_its_line(files):
    order = ["clean", "broken", "refused", "backdoored"]
    done = mmbd("scan", *[files[name] for name in order])
    assert done.returncode == gate.BACKDOORED
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert [name in line for name, line in zip(order, lines, strict=True)] == [True] * 4
    assert mmbd("scan", files["clean"], files["broken"], files["few"]).returncode == 3
    assert mmbd("scan", files["clean"], files["broken"]).returncode == 2


def test_worst():
    assert gate.worst([]) == 0
    assert gate.worst([0, 2]) == 2
    assert gate.worst([2, 3, 0]) == 3
    assert gate.worst([2, 3, 1, 0]) == 1


def test_json_for_pipes(files):
    done = mmbd("scan", files["backdoored"], "--json", "-")
    report = Report.from_json(done.stdout)
    assert (report.verdict, report.targets) == ("backdoored", (2,))
    assert report.model.sha256 is not None
    both = mmbd("scan", files["clean"], files["broken"], "--json", "-")
    verdicts = [entry["finding"]["verdict"] for entry in json.loads(both.stdout)]
    assert verdicts == ["clean", "not evaluable"]


def test_reports_into_files_and_folders(files, tmp_path):
    one = tmp_path / "one.json"
    page = tmp_path / "one.html"
    mmbd("scan", files["clean"], "--json", one, "--html", page, "--sarif", tmp_path / "all.sarif")
    assert Report.from_json(one.read_text()).verdict == "clean"
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    assert json.loads((tmp_path / "all.sarif").read_text())["version"] == "2.1.0"
    mmbd("scan", files["clean"], files["backdoored"], "--json", tmp_path / "many")
    assert sorted(path.name for path in (tmp_path / "many").glob("*.json")) == [
        "backdoored.safetensors.json",
        "clean.safetensors.json",
    ]


def test_quiet_is_one_plain_line(files):
    done = mmbd("scan", files["clean"], "--quiet")
    assert len(done.stdout.splitlines()) == 1
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_plain_when_not_a_terminal(files):
    done = mmbd("scan", files["backdoored"])
    assert done.stdout.startswith("BACKDOORED")
    assert "\x1b" not in done.stdout


def test_seeds_and_settings_are_reported(files):
    done = mmbd("scan", files["clean"], "--seeds", 3, "--restarts", 2, "--json", "-")
    report = Report.from_json(done.stdout)
    assert report.stability.seeds == (0, 1, 2)
    assert "'restarts': 2" in str(report.finding.settings)
    assert report.finding.decided_by == "combined"  # of the usual search, which was run beside
    assert report.stability.decides in (0, 1, 2)
    assert any("was run beside" in caveat for caveat in report.caveats)


def test_without_universal_perturbations(files):
    done = mmbd("scan", files["backdoored"], "--no-universal", "--json", "-")
    alone = Report.from_json(done.stdout)
    assert (done.returncode, alone.finding.decided_by) == (1, "population")
    assert alone.finding.column(GAIN) is None
    assert alone.finding.column("evidence") is None
    both = Report.from_json(mmbd("scan", files["backdoored"], "--json", "-").stdout)
    assert (both.finding.decided_by, both.targets) == ("combined", (2,))
    assert len(both.finding.column("evidence").values) == 8
    joint = Report.from_json(mmbd("scan", files["backdoored"], "--null", "joint", "--json", "-").stdout)
    assert (joint.finding.decided_by, joint.targets) == ("joint", (2,))
    assert len(joint.finding.column(GAIN).values) == 8


def test_own_architecture_and_class_names(files, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build(hidden=3):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(16, hidden), nn.ReLU(),"
        " nn.Linear(hidden, 8))\n"
    )
    (tmp_path / "names.txt").write_text("\n".join("abcdefg") + "\n<script>\n")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))
    torch.save({"state_dict": net.state_dict()}, tmp_path / "net.pth")
    done = mmbd(
        "scan",
        tmp_path / "net.pth",
        "--arch",
        f"{tmp_path}/mine.py:build",
        "--arch-arg",
        "hidden=12",
        "--input",
        "1x4x4",
        "--mean",
        "0.5",
        "--std",
        "0.5",
        "--class-names",
        tmp_path / "names.txt",
        "--json",
        "-",
    )
    assert done.returncode in (0, 1), done.stderr
    report = Report.from_json(done.stdout)
    assert report.class_names[7] == "<script>"
    assert report.model.mean == (0.5,)


def test_references_make_few_classes_evaluable(files, tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    for index in range(19):
        planted(folder / f"{index}.safetensors", gain=1.0 + index / 100, classes=3)
    kept = tmp_path / "reports"
    made = mmbd("scan", *sorted(folder.iterdir()), "--json", kept)
    assert made.returncode == 3
    bad = planted(tmp_path / "bad.safetensors", gain=9.0, classes=3)
    for reference in (folder, kept):
        done = mmbd("scan", bad, "--reference", reference, "--json", "-")
        report = Report.from_json(done.stdout)
        assert done.returncode == gate.BACKDOORED, done.stdout + done.stderr
        assert (report.finding.decided_by, report.targets) == ("reference", (2,))
        p_values = report.finding.column("p-value").values
        assert p_values[2] < p_values[0]
    few = mmbd("scan", bad, "--reference", folder / "0.safetensors")
    assert few.returncode == gate.REFUSED
    assert mmbd("scan", bad, "--reference", tmp_path / "none").returncode == gate.FAILED


def test_interrupting_stops_cleanly(files, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mmbd",
            "scan",
            str(files["clean"]),
            "--method",
            "paper",
            "--restarts",
            "5000",
            "--batch",
            "50",
            "--json",
            str(tmp_path / "out.json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=toy_networks.interruptible,
    )
    deadline = time.monotonic() + 600
    # The search has begun once the process has read the model and burns time on its own.
    while time.monotonic() < deadline and process.poll() is None:
        times = Path(f"/proc/{process.pid}/stat")
        if not times.exists():
            time.sleep(5)
            break
        if int(times.read_text().rsplit(")", 1)[1].split()[11]) > 4 * os.sysconf("SC_CLK_TCK"):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("statement", ["import mmbd", "import mmbd.cli"])
def test_nothing_heavy_is_imported_early(statement):
    heavy = "[name for name in ('torch', 'numpy', 'scipy') if name in sys.modules]"
    check = f"{statement}; import sys; print({heavy})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_exit_code():
    done = mmbd("scan", "--help")
    assert done.returncode == 0
    for word in ("0 clean", "1 backdoored", "2 failed", "3 refused", "4"):
        assert word in " ".join(done.stdout.split())
    assert mmbd("--version").stdout.strip()
