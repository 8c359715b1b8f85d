"""Which process somebody is, so that others can tell whether it still lives: numbers are used again."""

from __future__ import annotations

import os
from pathlib import Path

from mmbd.base.writing import machine


def here() -> dict[str, str | int]:
    """This process: the machine (and container), its number, and when it began, by the system's count."""
    return {"machine": machine(), "process": os.getpid(), "began": _began(os.getpid())}


def gone(known: object) -> bool | None:
    """Whether the process that `here` described has ended; None where this machine cannot know."""
    if not isinstance(known, dict) or known.get("machine") != machine() or os.name != "posix":
        return None
    number, began = known.get("process"), known.get("began")
    if type(number) is not int or not 0 < number < 1 << 31:
        return None
    try:
        os.kill(number, 0)  # sends nothing
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is not ours
        pass
    now = _began(number)
    return bool(began and now and now != began)


def _began(number: int) -> str:
    """The start of a process in ticks since the machine's; "" where that is not told."""
    try:
        told = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
        return told.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
