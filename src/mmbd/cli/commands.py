"""The commands together, and what becomes of their errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import clean_text
from mmbd.base.version import __version__
from mmbd.cli import streams
from mmbd.cli.arguments import joined, refuse_names
from mmbd.cli.compare import compare
from mmbd.cli.evaluate import evaluate
from mmbd.cli.fix import fix
from mmbd.cli.fleet import fleet
from mmbd.cli.gate import gate as gates
from mmbd.cli.inspect import inspect
from mmbd.cli.listing import list_
from mmbd.cli.options import HOW, Usage
from mmbd.cli.policy import policy
from mmbd.cli.report import report
from mmbd.cli.scan import scan
from mmbd.cli.selftest import selftest
from mmbd.cli.shadows import shadows
from mmbd.cli.train import train
from mmbd.cli.verify import verify
from mmbd.cli.zoo import zoo
from mmbd.workflows import scan_file as gate

MOST = 2000  # characters of a message

app = App(
    name="mmbd",
    help="Tell whether a trained classifier carries a backdoor, from the model alone.",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
for command in (scan, inspect, compare, report, verify, fix, train, shadows, evaluate, selftest):
    app.command(command, group_parameters=HOW)
app.command(policy)
app.command(gates)
app.command(zoo)
app.command(fleet)
app.command(list_, name="list")

# The first kind that an error is of decides; kinds that are not here are bugs and keep their trace.
# A ValueError that no command knew better is about an argument: what files and networks raise is
# Failed, Refused or NotEvaluable by then.
CODES: tuple[tuple[type[BaseException], int], ...] = (
    (CycloptsError, gate.USAGE),
    (Usage, gate.USAGE),
    (Refused, gate.REFUSED),
    (NotEvaluable, gate.REFUSED),
    (Failed, gate.FAILED),
    (UnicodeError, gate.FAILED),
    (ValueError, gate.USAGE),
    (OSError, gate.FAILED),
    (ImportError, gate.FAILED),
    (MemoryError, gate.FAILED),
)


def run(given: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors that are known are told in a line."""
    try:
        refuse_names(given)
        code = app(
            joined(given),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
            console=_help(),
        )
    except tuple(kind for kind, _ in CODES) as error:
        streams.complain(_words(error, given))
        return next(code for kind, code in CODES if isinstance(error, kind))
    finally:
        if "mmbd.formats.sandbox.reading" in sys.modules:  # it imports torch
            sys.modules["mmbd.formats.sandbox.reading"].leave()
    return code if isinstance(code, int) else gate.CLEAN


def _help() -> Console:
    file = streams.report()
    return Console(file=file)  # pyright: ignore[reportArgumentType]


def _words(error: BaseException, given: Sequence[str]) -> str:
    """One line, whatever is quoted in it; with a second one on where to read more."""
    words = clean_text(str(error), MOST) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"failed: out of memory ({words})"
    if isinstance(error, CycloptsError):
        command = f" {given[0]}" if given and given[0] in iter(app) else ""
        return f"{words}\nTry: mmbd{command} --help"
    return words
