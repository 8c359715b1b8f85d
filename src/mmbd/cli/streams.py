"""Standard output belongs to the report, and a broken stream breaks no verdict.

While a command runs, descriptor 1 and Python's own `sys.stdout` mean standard error: what a user's
network, a library or a process started by either prints cannot get between the lines of a report.
Reports go to a descriptor of their own. What cannot be written is remembered, not raised: the
command decides at its end what that is worth.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from mmbd.base.text import harmless

if TYPE_CHECKING:
    from rich.console import Console


class Stream(io.TextIOBase):
    """A text stream over another that takes every character and never raises.

    Characters that the encoding does not have are written as escapes. After the first error
    nothing more is written; `failure` is that error. With `tame`, whatever could steer a terminal
    is escaped too.
    """

    def __init__(self, target: TextIO, *, tame: bool = False) -> None:
        self.target = target
        self.failure: Exception | None = None
        self._tame = tame

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.target, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if self._tame:
            text = harmless(text, kept="\n\t\r")
        known = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._attempt(lambda: self.target.write(known))
        return len(text)

    def flush(self) -> None:
        self._attempt(self.target.flush)

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self.target.isatty()
        return False

    def fileno(self) -> int:
        return self.target.fileno()

    def _attempt(self, act: Any) -> None:
        if self.failure is None:
            try:
                act()
            except (OSError, ValueError) as error:  # ValueError: it has been closed
                self.failure = error

    def __getattr__(self, name: str) -> Any:  # such as buffer and reconfigure
        return getattr(self.target, name)


_reserved: list[tuple[Stream, Stream]] = []


def report() -> Stream:
    """Where reports go: standard output, whatever `sys.stdout` means meanwhile."""
    return _reserved[-1][0] if _reserved else Stream(_or_nowhere(sys.stdout))


def screen() -> Stream:
    """Standard error, for what moves the cursor on purpose, such as progress bars."""
    return _reserved[-1][1] if _reserved else Stream(_or_nowhere(sys.stderr))


def console(stream: Stream | None = None) -> Console:
    """A console that prints texts as they are: no markup, no emoji, no cut lines."""
    from rich.console import Console

    file: Any = stream or report()
    return Console(file=file, soft_wrap=True, markup=False, highlight=False, emoji=False)


def say(text: str, end: str = "\n") -> None:
    """Print to the report's stream; only line ends and tabs are kept of what cannot be seen."""
    stream = report()
    stream.write(harmless(text) + end)
    stream.flush()


def complain(text: str) -> None:
    """Print to standard error, with the program's name before it."""
    stream = screen()
    stream.write(f"mmbd: {harmless(text)}\n")
    stream.flush()


@contextmanager
def reserved(*, for_good: bool = False) -> Generator[Stream]:
    """Keep standard output for `report` inside; with `for_good`, to the end of the process."""
    before = sys.stdout, sys.stderr
    errors = _or_nowhere(sys.stderr)
    output, restore = _apart(_or_nowhere(sys.stdout))
    _reserved.append((Stream(output), Stream(errors)))
    sys.stdout = sys.stderr = Stream(errors, tame=True)
    try:
        yield _reserved[-1][0]
    finally:
        _reserved[-1][0].flush()
        if not for_good:
            _reserved.pop()
            sys.stdout, sys.stderr = before
            restore()


def _apart(stdout: TextIO) -> tuple[TextIO, Any]:
    """Standard output on a descriptor of its own, with what undoes that.

    A stream that is no descriptor (one that a caller put there) stays what it is.
    """
    with suppress(OSError, ValueError):
        stdout.flush()
    own = False
    with suppress(OSError, ValueError, AttributeError):
        own = stdout.fileno() == 1
    try:
        kept = os.dup(1)
    except OSError:  # closed: nothing else may come to lie there
        _point(1)
        return stdout, lambda: None
    _point(1)
    if own:
        encoding = stdout.encoding or "utf-8"
        stdout = open(kept, "w", encoding=encoding, closefd=False)  # noqa: SIM115

    def restore() -> None:
        with suppress(OSError, ValueError, AttributeError):
            sys.__stdout__.flush()  # pyright: ignore[reportOptionalMemberAccess]
        with suppress(OSError, TypeError, AttributeError):
            ctypes.CDLL(None).fflush(None)  # what C code has printed and kept so far
        os.dup2(kept, 1)
        os.close(kept)

    return stdout, restore


def _point(descriptor: int) -> None:
    """Let a descriptor mean standard error, or nothing where there is none."""
    try:
        os.dup2(2, descriptor)
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        if nothing != descriptor:
            os.close(nothing)


def _or_nowhere(stream: TextIO | None) -> TextIO:
    """The stream, or one that swallows everything where the process was started without."""
    return open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: PTH123
