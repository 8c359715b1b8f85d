"""The command line: a thin skin over the package. Nothing heavy is imported before it is needed.

Exit codes: 0 clean or done, 1 backdoored, 2 failed, 3 refused or not evaluable, 4 usage,
130 interrupted. One command, one file; this one turns errors into exit codes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

import mmbd
from mmbd import gate
from mmbd.cli.evaluate import evaluate
from mmbd.cli.fix import fix
from mmbd.cli.scan import scan
from mmbd.cli.train import train
from mmbd.cli.zoo import zoo
from mmbd.errors import Failed, NotEvaluable, Refused

INTERRUPTED = 130

app = App(
    name="mmbd",
    help="Tell whether a trained classifier carries a backdoor, from the model alone.",
    version=mmbd.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(scan)
app.command(fix)
app.command(train)
app.command(zoo)
app.command(evaluate)

# The first kind that an error is of decides; kinds that are not here are bugs and keep their trace.
CODES: tuple[tuple[type[BaseException], int], ...] = (
    (CycloptsError, gate.USAGE),
    (Refused, gate.REFUSED),
    (NotEvaluable, gate.REFUSED),
    (Failed, gate.FAILED),
    (ValueError, gate.USAGE),
    (OSError, gate.FAILED),
    (ImportError, gate.FAILED),
    (KeyboardInterrupt, INTERRUPTED),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, exit_on_error=False, print_error=False, result_action="return_value")
    except tuple(kind for kind, _ in CODES) as error:
        said = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
        said.print(f"mmbd: {_words(error, given)}")
        sys.exit(next(code for kind, code in CODES if isinstance(error, kind)))
    sys.exit(code if isinstance(code, int) else 0)


def _words(error: BaseException, given: Sequence[str]) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; everything written so far is complete"
    if isinstance(error, CycloptsError):
        command = f" {given[0]}" if given and given[0] in iter(app) else ""
        return f"{error}\nTry: mmbd{command} --help"
    return str(error)
