"""The folder where a command is started may be a stranger's: nothing in it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmbd
from helpers import toy_zoos
from mmbd.base.workers import run

SOURCE = Path(mmbd.__file__).parents[1]
BAIT = (
    "multiprocessing",
    "cyclopts",
    "rich",
    "torch",
    "json",
    "numpy",
    "scipy",
    "safetensors",
    "typing",
    "pickle",
    "random",
    "ctypes",
    "dataclasses",
    "csv",
    "inspect",
    "ast",
    "selectors",
    "threading",
    "pathlib",
    "traceback",
    "socket",
    "tempfile",
    "PIL",
    "jinja2",
    "signal",
    "struct",
)
# What Python itself imports for -m before anything else: only -P, or the command mmbd, keeps the
# working folder out of that.
PYTHONS_OWN = ("importlib", "warnings", "contextlib", "functools", "collections", "types")


@pytest.fixture
def stranger(tmp_path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    toy_zoos.table(folder, clean=1, backdoored=1)
    bait(folder, BAIT)
    return folder


def bait(folder: Path, names: tuple[str, ...]) -> None:
    """Modules that leave a mark and end the process."""
    for name in names:
        mark = folder / f"{name}.ran"
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemExit\n")


def started(stranger: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=stranger,
        capture_output=True,
        text=True,
        timeout=600,
        env=known | {"PYTHONPATH": str(SOURCE)} | environment,
    )


def ran(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.ran")}


@pytest.mark.parametrize(
    "start",
    [
        ["-m", "mmbd"],
        ["-P", "-m", "mmbd"],
        ["-m", "mmbd.__main__"],
        ["-P", "-c", "from mmbd.cli import main; main()"],
    ],
    ids=" ".join,
)
def test_nothing_of_the_working_folder_runs(stranger, start):
    if "-P" in start:
        bait(stranger, (*PYTHONS_OWN, "mmbd"))
    done = started(stranger, *start, "scan", "--quiet", "bad0.safetensors")
    assert ran(stranger) == set()
    assert done.returncode == 1, done.stderr


@pytest.mark.parametrize("start", [["-m", "mmbd"], ["-P", "-c", "from mmbd.cli import main; main()"]])
def test_nothing_of_the_working_folder_runs_in_workers_either(stranger, start):
    if "-P" in start:
        bait(stranger, (*PYTHONS_OWN, "mmbd"))
    (table,) = stranger.glob("*.csv")
    done = started(stranger, *start, "evaluate", table.name, "--workers", "1", "--results", "r")
    assert ran(stranger) == set()
    assert done.returncode == 0, done.stderr


def test_the_folders_of_others_stay_on_the_path(tmp_path):
    """Started with -P, by another module's -m, by a script or by runpy, the path is not ours."""
    show = f"import sys, mmbd; print(sys.path[0] in ('', {str(tmp_path)!r}))"
    (tmp_path / "other.py").write_text(show)
    assert started(tmp_path, "-m", "other").stdout == "True\n"
    assert started(tmp_path, "other.py").stdout == "True\n"
    assert started(tmp_path, "-c", show).stdout == "True\n"
    (tmp_path / "by.py").write_text(
        "import runpy, sys\nbefore = list(sys.path)\nsys.argv = ['mmbd', '--version']\n"
        "try:\n    runpy.run_module('mmbd', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n    print(end.code, sys.path == before, file=sys.stderr)\n"
    )
    done = started(tmp_path, "by.py")
    assert done.stdout == f"{mmbd.__version__}\n"
    first = Path(done.stderr.splitlines()[0].split()[0]).name
    assert (first, done.stderr.split()[-1]) == ("0", "True")
    script = "import sys\nfrom mmbd.__main__ import main\nprint(len(sys.path) > 0, main.__name__)"
    assert started(tmp_path, "-c", script).stdout == "True main\n"


def test_the_package_itself_may_lie_in_the_working_folder():
    done = started(SOURCE, "-m", "mmbd", "--version", PYTHONPATH="")
    assert (done.returncode, done.stdout) == (0, f"{mmbd.__version__}\n"), done.stderr


def where(_: int) -> tuple[list[str], str]:
    return sys.path, str(Path.cwd())


def test_workers_have_the_path_of_their_parent_and_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    (outcome,) = run(where, [0], workers=1)
    assert outcome.failure is None
    path, folder = outcome.result
    assert folder == str(tmp_path)
    assert not {"", str(tmp_path)} & set(path)
    assert set(path) <= set(sys.path) | set(os.environ.get("PYTHONPATH", "").split(os.pathsep))
    assert "PYTHONSAFEPATH" not in os.environ
    monkeypatch.setenv("PYTHONSAFEPATH", "x")
    (outcome,) = run(where, [0], workers=1)
    assert outcome.failure is None
    assert os.environ["PYTHONSAFEPATH"] == "x"


def test_what_a_script_imports_beside_itself_still_reaches_its_workers(tmp_path):
    (tmp_path / "mine.py").write_text("def double(value):\n    return 2 * value\n")
    (tmp_path / "script.py").write_text(
        "import mine\nfrom mmbd.base.workers import run\n"
        "if __name__ == '__main__':\n"
        "    print([outcome.result for outcome in run(mine.double, [1, 2], workers=1)])\n"
    )
    done = started(tmp_path, "script.py")
    assert done.stdout == "[2, 4]\n", done.stderr
