"""The tools that get every file, mmbd, other scanners and loaders, and what their answers mean."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORKING = Path(__file__).with_name("forking.py")
ROOT = Path(__file__).parents[2]
SECONDS, MEMORY = 120.0, 6 << 30
EXECUTES, FLAGS, SILENT, NO_ANSWER, CRASHES = "executes", "flags", "silent", "no answer", "crashes"


@dataclass(frozen=True)
class Tool:
    """A command of a tool.

    Args:
        call: its entry point.
        modules: what is imported before the first file.
        arguments: before the path.
        flags, silent: exit codes by which it says that a file is not safe, and that it has found nothing.
        package: whose version is noted; "" for a loader.
        quiet: words in its output that make silence no answer: it says that it did not look.
        found: words by which it says that a file is not safe, whatever its exit code.
    """

    call: str
    modules: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    flags: frozenset[int] = frozenset({1})
    silent: frozenset[int] = frozenset({0})
    package: str = ""
    quiet: tuple[str, ...] = ()
    found: str = ""

    def word(self, answer: dict[str, Any]) -> str:
        """What the tool did with a file, in one word."""
        if answer["canary"]:
            return EXECUTES
        said = answer["out"] + answer["errors"]
        if self.found and re.search(self.found, said):
            return FLAGS
        if answer["late"] or answer["code"] < 0 or "Traceback (most recent" in answer["errors"]:
            return CRASHES
        if answer["code"] in self.flags:
            return FLAGS
        if answer["code"] in self.silent and not any(words in said for words in self.quiet):
            return SILENT
        return NO_ANSWER


SCANNERS: dict[str, Tool] = {
    "picklescan": Tool(
        "picklescan.cli:main",
        ("picklescan.cli",),
        ("--path",),
        package="picklescan",
        quiet=("Scanned files: 0", "ERROR"),
        found=r"Infected files: [1-9]",  # also where it ends with 2, after a part that it could not read
    ),
    "modelscan": Tool("modelscan.cli:main", ("modelscan.cli",), ("scan", "-p"), package="modelscan"),
    "fickling": Tool(
        "fickling.__main__:main",
        ("fickling.__main__", "fickling.cli"),
        ("--check-safety",),
        package="fickling",
    ),
    "modelaudit": Tool(
        "modelaudit.__main__:_run",
        ("modelaudit.__main__", "modelaudit.cli"),
        ("scan", "--no-cache", "--format", "json"),
        package="modelaudit",
    ),
}
MMBD = {
    "inspect": ("inspect", "--json", "--"),
    "scan": ("scan", "--quiet", "--steps", "2", "--restarts", "1", "--limit", "60", "--"),
}
NEEDED = (
    "mmbd.cli.commands",
    "mmbd.detectors.scan",
    "mmbd.workflows",
    "mmbd.workflows.inspect_file",
    "mmbd.formats.loading",
    "mmbd.formats.keras.graph",
    "mmbd.null",
    "mmbd.cli.inspect",
    "mmbd.cli.scan",
    "mmbd.cli.outputs",
    "mmbd.render.inspection",
    "mmbd.render.terminal",
    "mmbd.render.save",
    "scipy.optimize",
    "scipy.stats",
    "pyfive",
    "onnx",
    "benchmarks.hostile.hub",
)


class Server:
    """A process that forks a child for every file."""

    def __init__(self, python: str, modules: Sequence[str], scratch: Path) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "KERAS_BACKEND": "torch",
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "NO_ANALYTICS": "1",
            "KERAS_HOME": str(scratch),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]) if python == sys.executable else "",
        }
        self.scratch, self.numbers = scratch, itertools.count()
        self.process = subprocess.Popen(
            [python, str(FORKING), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=scratch,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "{}\n", "the tool could not be imported"

    def ask(self, call: str, name: str, arguments: Sequence[str], seconds: float = SECONDS) -> dict[str, Any]:
        """Call a function in a child."""
        folder = self.scratch / f"t{next(self.numbers)}"
        canary = self.scratch / "canary"
        task = {"call": call, "name": name, "arguments": list(arguments), "folder": str(folder)}
        task |= {"canary": str(canary), "seconds": seconds, "memory": MEMORY}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        if canary.is_dir():
            canary.rmdir()
        canary.unlink(missing_ok=True)
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()


@contextlib.contextmanager
def serving(python: str, modules: Sequence[str], scratch: Path) -> Generator[Server]:
    """A server for as long as it is needed."""
    scratch.mkdir(parents=True, exist_ok=True)
    server = Server(python, modules, scratch)
    try:
        yield server
    finally:
        server.close()


def version(python: str, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
