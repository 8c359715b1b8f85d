"""Scans a file of the corpus as a user does, and lists whatever is wrong with the answer."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hostile.steps import has_step, steers
from helpers.cost_limits import Cost, measured
from hostile.corpus.case import Case
from hostile.corpus.watching import watching
from mmbd.cli import main
from mmbd.workflows import scan_file as gate

SECONDS = 20.0  # of processor time; most take some hundredths
OUTPUTS = "reports"
# How the answer is asked for, in turn.
MANNERS = (
    (),
    ("--quiet",),
    (),
    ("--json", "-"),
    ("--html", f"{OUTPUTS}/r.html", "--sarif", f"{OUTPUTS}/r.sarif", "--json", f"{OUTPUTS}/r.json"),
)


def arguments(case: Case, name: str, number: int) -> list[str]:
    # Without the sandbox, whose own processes would hide what is watched for.
    return ["scan", "--no-sandbox", *case.flags, *MANNERS[number % len(MANNERS)], "--", name]


def faults(
    case: Case, number: int, folder: Path, streams: Callable[[], tuple[str, str]], marker: Path
) -> tuple[list[str], Cost, int]:
    """Write the file, scan it from its folder, and take it away again.

    Args:
        case: the file.
        number: its place in the corpus, from which its name and the manner of asking come.
        folder: the working folder, which has a folder `OUTPUTS`.
        streams: what the two streams of the process have got since the last call.
        marker: what a payload would create.

    Returns:
        What is wrong, what it cost, and the exit code.
    """
    name = case.write(folder, number)
    given = arguments(case, name, number)
    streams()
    code: object = None
    done: list[str] = []
    with (
        warnings.catch_warnings(record=True) as warned,
        measured() as cost,
        watching(str(folder / OUTPUTS), done, strict=False),
        reading(done),
    ):
        warnings.simplefilter("default")
        try:
            main(given)
        except SystemExit as ended:
            code = ended.code
    out, errors = streams()
    wrong = [f"did: {each}" for each in done[:5]]
    wrong += [f"warned: {each.message}" for each in warned]
    if marker.exists():
        wrong.append("RAN: the marker is there")
        marker.unlink()
    if code not in case.codes:
        wrong.append(f"ended with {code}, expected one of {sorted(case.codes)}")
    wrong += said(case, out, errors, f"f{number:04d}", "--json" in given and "-" in given)
    for report in (folder / OUTPUTS).iterdir():
        if not report.name.endswith(".artifacts.safetensors"):  # numbers, which nobody's terminal shows
            wrong += [f"{report.name} has {each}" for each in steers(report.read_text("utf-8"))]
        report.unlink()
    if cost.seconds > SECONDS:
        wrong.append(f"took {cost.seconds:.1f} s")
    if cost.megabytes is not None and cost.megabytes > case.megabytes:
        wrong.append(f"took {cost.megabytes:.0f} MB")
    remove(folder / name)
    return wrong, cost, code if isinstance(code, int) else -1


@contextmanager
def reading(done: list[str]) -> Iterator[None]:
    """Watch more closely while the file is in the program's hands."""
    whole = gate.scan_file

    def watched(*given: Any, **named: Any) -> gate.Outcome:
        with watching("nowhere", done, strict=True):
            return whole(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "scan_file", watched)
        yield


def said(case: Case, out: str, errors: str, token: str, as_json: bool) -> list[str]:
    """What is wrong with what was printed."""
    wrong = [f"printed {each}" for each in steers(out + errors)]
    if "Traceback" in out + errors:
        wrong.append(f"a traceback: {errors[-1500:]}")
    if errors:
        wrong.append(f"complained on standard error: {errors[:300]}")
    message = out
    if as_json:
        try:
            report = json.loads(out)
        except ValueError as error:
            return [*wrong, f"no JSON: {error}: {out[:200]!r}"]
        message = f"{report['model']['file']} {report['finding']['reason']}"
    # Not the caveats of a whole report, which tell of steps too: the finding alone.
    finding = message if as_json else message.partition("\n")[0]
    if token not in message:
        wrong.append("does not name the file")
    if not has_step(finding):
        wrong.append(f"has no next step: {finding[:600]!r}")
    if case.says not in message:
        wrong.append(f"does not say {case.says!r}: {finding[:600]!r}")
    return wrong


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inside in path.iterdir():
            remove(inside)
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()
