"""What the process does while a hostile file is read, by Python's own audit events."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.hostile.never import NEVER, WRITING

# Parts of the program that are only brought in when they are needed.
OWN = ("mmbd", "torch", "numpy", "scipy", "safetensors", "rich", "cyclopts", "jinja2", "encodings")

_watched: list[tuple[list[str], str, bool]] = []
_hooked: list[bool] = []


@contextmanager
def watching(outputs: str, seen: list[str], strict: bool) -> Iterator[None]:
    """Put into `seen` what is done inside that no scan of a file needs.

    Args:
        outputs: the folder that may be written to.
        seen: what was done.
        strict: no code may be made of text either, as the parser of the command line does.
    """
    if not _hooked:
        sys.addaudithook(_hook)  # for good: hooks cannot be taken away
        _hooked.append(True)
    _watched.append((seen, outputs, strict))
    try:
        yield
    finally:
        _watched.pop()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched:
        seen, outputs, strict = _watched[-1]
        never = event.startswith(NEVER) and not _own(event, arguments, outputs)
        if never or _odd(event, arguments, outputs, strict):
            seen.append(f"{event} {arguments!r:.300}")


def _own(event: str, arguments: tuple[Any, ...], outputs: str) -> bool:
    """Whether this is how a report gets to its place, or the program asks for its own C library."""
    if event in ("os.remove", "os.rename"):
        return os.path.realpath(arguments[0]).startswith(outputs)
    return event == "ctypes.dlopen" and arguments == (None,)


def _odd(event: str, arguments: tuple[Any, ...], outputs: str, strict: bool) -> bool:
    if event == "open":
        path, _, flags = arguments
        written = isinstance(flags, int) and bool(flags & WRITING)
        known = isinstance(path, int) or str(path) == os.devnull or "__pycache__" in str(path)
        return written and not known and not os.path.realpath(path).startswith(outputs)
    if event == "import":
        top = str(arguments[0]).partition(".")[0]
        return top not in OWN and top not in sys.modules and not _installed(top)
    if strict and event in ("exec", "compile"):
        where = getattr(arguments[0], "co_filename", None) if event == "exec" else arguments[1]
        return not Path(str(where)).is_absolute() and not str(where).startswith("<frozen ")
    return False


def _installed(name: str) -> bool:
    return name in sys.stdlib_module_names or name.startswith("_")
