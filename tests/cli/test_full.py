"""Disks and memory that are full, and folders that go: the verdict counts, and nothing is half written."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command_line import caller
from helpers.own_process import mmbd
from helpers.planted_files import planted
from mmbd.workflows import scan_file as gate

# No file may grow beyond so many bytes: what a full disk looks like to a process.
FULL = {resource.RLIMIT_FSIZE: 1000}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    planted(folder / "clean.safetensors", gain=1.0)
    planted(folder / "backdoored.safetensors", gain=20.0)
    return folder


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return caller(capsys)


def test_a_full_disk_under_the_reports(models, tmp_path):
    for name, code in [("clean", gate.FAILED), ("backdoored", gate.BACKDOORED)]:
        done = mmbd(
            "scan",
            models / f"{name}.safetensors",
            "--quiet",
            "--json",
            "a.json",
            "--html",
            "a.html",
            "--sarif",
            "a.sarif",
            cwd=tmp_path,
            limits=FULL,
        )
        assert done.returncode == code, done.stderr
        assert done.stdout.startswith(f"{name}: ")
        for file in ("a.json", "a.html", "a.sarif"):
            assert f"mmbd: cannot write {file}: " in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_away_meanwhile(run, models, tmp_path, monkeypatch):
    real = gate.scan_file

    def scanning(*arguments, **options):
        (tmp_path / "out").rmdir()
        return real(*arguments, **options)

    monkeypatch.setattr(gate, "scan_file", scanning)
    for name, code in [("clean", gate.FAILED), ("backdoored", gate.BACKDOORED)]:
        found, out, errors = run("scan", models / f"{name}.safetensors", "--quiet", "--json", "out")
        assert found == code
        assert out.startswith(f"{name}: ")
        assert errors.startswith("mmbd: cannot write out/")


def test_little_memory_is_a_failure(models):
    """Wherever it runs out: under whatever limit, no clean model is backdoored."""
    codes = set()
    for megabytes in (60, 500, 800, 1000):
        done = subprocess.run(
            [sys.executable, "-m", "mmbd", "scan", models / "clean.safetensors", "--quiet"],
            capture_output=True,
            timeout=600,
            preexec_fn=lambda size=megabytes << 20: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
        )
        codes.add(done.returncode)
    assert gate.BACKDOORED not in codes
    assert gate.FAILED in codes
