"""`mmbd evaluate` as a user meets it: real processes, files, streams, exit codes and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import own_process, toy_networks, toy_zoos
from mmbd.results.store import Key, Store
from mmbd.workflows import scan_file as gate


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mmbd", "evaluate", *map(str, arguments)]


def mmbd(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return own_process.mmbd("evaluate", *arguments, **options)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    return toy_zoos.table(tmp_path_factory.mktemp("zoo"), junk=True)


def stored(folder: Path) -> dict[Key, str]:
    """The answers that are kept in a folder, each with its report, whose run has its own time."""
    return {key: found.value for key, found in Store(folder / "results.sqlite").items()}


def test_one_broken_model_and_every_output(zoo, tmp_path):
    done = mmbd(
        zoo,
        "--detector",
        "mm-bd",
        "--workers",
        0,
        "--markdown",
        "a.md",
        "--csv",
        "a.csv",
        "--html",
        "a.html",
        "--json",
        "-",
        cwd=tmp_path,
    )
    assert done.returncode == gate.FAILED
    assert done.stderr.startswith("mmbd: junk.safetensors: ")
    assert len(done.stderr.splitlines()) == 1
    found = json.loads(done.stdout)
    (row,) = found["tables"]["overall"]
    assert (row["detection"]["hits"], row["detection"]["n"]) == (2, 2)
    assert (row["false_positives"]["hits"], row["false_positives"]["n"]) == (0, 2)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.md", "a.csv", "a.html", "zoo-results"}
    assert "1.000 (2/2; 0.158-1.000)" in (tmp_path / "a.md").read_text()
    # What is there is used again, and the plain tables need no files.
    before = stored(tmp_path / "zoo-results")
    again = mmbd(zoo, "--workers", 0, cwd=tmp_path)
    assert again.stdout.startswith("Overall\ndetector")
    assert "\x1b" not in again.stdout
    assert stored(tmp_path / "zoo-results") == before
    assert len(before) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ZOO", "--detector", "mmbd"], "unknown detector 'mmbd'; did you mean 'mm-bd'?"),
        (["ZOO", "--json", "-", "--csv", "-"], "only one output can be printed"),
        (["ZOO", "--html", "page.txt"], "ends in .html"),
        (["ZOO", "--csv", "no-such-folder/x.csv"], "there is no folder no-such-folder"),
        (["ZOO", "--half", "third"], "--half"),
        ([], "ZOO"),
    ],
)
def test_usage(zoo, tmp_path, arguments, said):
    done = mmbd(*(zoo if word == "ZOO" else word for word in arguments), cwd=tmp_path)
    assert done.returncode == gate.USAGE, done.stdout + done.stderr
    assert done.stderr.startswith("mmbd: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_zoo(tmp_path):
    done = mmbd(tmp_path / "nowhere", cwd=tmp_path)
    assert done.returncode == gate.FAILED
    assert "nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


def started(zoo: Path, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """A run that has kept its first answer."""
    process = subprocess.Popen(
        command(zoo, "--results", folder, *arguments),
        cwd=zoo.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=toy_networks.interruptible,
    )
    deadline = time.monotonic() + 600
    while not stored(folder) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def members(group: int) -> list[str]:
    """The names of the processes of a group that are still running."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = file.read_text().rsplit(")", 1)
        except OSError:
            continue
        state, _, its_group = rest.split()[:3]
        if int(its_group) == group and state != "Z":
            found.append(name)
    return found


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    zoo, folder = toy_zoos.table(tmp_path, clean=3, backdoored=3), tmp_path / "answers"
    process = started(zoo, folder, "--workers", 0)
    process.kill()
    process.communicate(timeout=600)
    kept = stored(folder)
    assert 0 < len(kept) < 6
    done = mmbd(zoo, "--results", folder, "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert "1.000 (3/3; " in done.stdout
    after = stored(folder)
    assert len(after) == 6
    assert kept.items() <= after.items()


def test_interrupting_stops_cleanly(tmp_path):
    zoo, folder = toy_zoos.table(tmp_path, clean=100, backdoored=100), tmp_path / "answers"
    process = started(zoo, folder, "--workers", 1)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    *expected, last = errors.splitlines()  # on a slow machine, a line on how long it would have taken
    assert last == "mmbd: interrupted; everything written so far is complete"
    assert [line for line in expected if not line.startswith("mmbd: zoo.csv: evaluation, up to 200")] == []
    assert out == ""
    assert 0 < len(stored(folder)) < 200
    deadline = time.monotonic() + 600
    while (left := members(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_help_names_the_exit_codes():
    done = mmbd("--help")
    assert done.returncode == 0
    assert "0 done, 2 done but some models failed" in " ".join(done.stdout.split())
