"""What is wrong with an answer of mmbd: its exit code, no way out, something left behind, and the like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.hostile.case import CODES, READ, Case
from benchmarks.hostile.steps import has_step, steers

SECONDS, MEGABYTES = 30.0, 600.0  # of processor time, and more than a process that has imported everything
LONGEST = 4000  # characters of a line


def faults(case: Case, command: str, answer: dict[str, Any], path: Path) -> list[str]:
    """What is wrong with the answer of `mmbd inspect --json` or `mmbd scan --quiet`, in words."""
    out, errors, code = answer["out"], answer["errors"], answer["code"]
    wrong: list[str] = []
    if answer["canary"]:
        wrong.append("RAN")
    if answer["late"]:
        wrong.append("did not end")
    allowed = CODES[case.expected][command]
    if path.name.startswith("-") and code == 4:
        allowed = allowed | {4}  # a name that looks like an option, without "--" before it
    if code not in allowed:
        wrong.append(f"ended with {code}, expected {sorted(allowed)}")
    if "Traceback" in out + errors:
        wrong.append(f"a traceback: {errors[-400:]}")
    wrong += [f"printed {each}" for each in steers(out + errors)]
    if errors:
        wrong.append(f"complained on standard error: {errors[:300]}")
    message = _message(command, out, wrong)
    if code not in (0, 1):
        token = path.name[:4] if path.name.isprintable() else path.name[:1]
        if token not in out:
            wrong.append("does not name the file")
        if case.expected != READ and not has_step(message):
            wrong.append(f"has no way out: {message[-300:]!r}")
    if answer["seconds"] > SECONDS:
        wrong.append(f"took {answer['seconds']:.1f} s")
    if answer["megabytes"] > MEGABYTES:
        wrong.append(f"took {answer['megabytes']:.0f} MB")
    # The empty folder that torch makes for its compiler whenever it is imported.
    if left := [name for name in answer["left"] if not name.startswith("tmp/torchinductor_")]:
        wrong.append(f"left {left[:3]}")
    return wrong


def _message(command: str, out: str, wrong: list[str]) -> str:
    if command == "scan":
        lines = out.strip().split("\n")
        if len(lines) != 1 or len(out) > LONGEST:
            wrong.append(f"printed {len(lines)} lines, {len(out)} characters")
        return out
    try:
        (found,) = json.loads(out)
        return " ".join([found["reason"] or "", *found["notes"]])
    except (ValueError, TypeError, KeyError) as error:
        wrong.append(f"no JSON of one file: {error}: {out[:200]!r}")
        return out
