"""The command line: a thin skin over the package. Nothing heavy is imported before it is needed.

Exit codes: 0 clean or done, 1 backdoored, 2 failed, 3 refused or not evaluable, 4 usage,
130 interrupted. One command, one file; `commands` turns known errors into exit codes, and here
everything else becomes 2: Python's own code for a crash is 1, which means backdoored.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

CLEAN, FAILED, INTERRUPTED = 0, 2, 130
LEAST = 700  # megabytes, to load torch and numpy: short of memory, numpy's OpenBLAS ends a process with 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        arguments: by default the process's own, which is to end with this call: its standard
            output is then not given back to whatever still runs.
    """
    code = FAILED
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments), arguments is None)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException as error:
        with suppress(BaseException):  # for want of memory, even this may fail
            _trace(error)
    sys.exit(code)


def _run(given: list[str], for_good: bool) -> int:
    if for_good:
        # Threads that wait for each other in a loop take the cores from whatever else runs, another scan
        # among them (benchmarks/side_by_side.py). It counts only before torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from mmbd.base.extras import room
    from mmbd.cli import streams

    with streams.reserved(for_good=for_good) as output:
        try:
            if not {"--help", "-h", "--version"} & {*given} and "torch" not in sys.modules:
                room(LEAST, "torch and numpy")
            from mmbd.cli import commands

            code = commands.run(given)
        except KeyboardInterrupt:
            streams.complain("interrupted; everything written so far is complete")
            return INTERRUPTED
        except SystemExit as error:
            streams.complain(f"failed: something called sys.exit({error.code!r}) on the way")
            code = FAILED
        except MemoryError as error:
            streams.complain(f"failed: out of memory ({error})")
            code = FAILED
        except BaseException as error:
            with suppress(BaseException):
                _trace(error)
            code = FAILED
        output.flush()
        lost = output.failure
        # A reader that has gone, as head does, has seen what it wanted.
        if lost is not None and not isinstance(lost, BrokenPipeError):
            streams.complain(f"cannot write to standard output: {lost}")
            code = FAILED if code == CLEAN else code
    return code


def _trace(error: BaseException) -> None:
    """A bug, or somebody's code: with its trace, as what is known has one line elsewhere."""
    import traceback

    from mmbd.base.text import harmless

    text = harmless("".join(traceback.format_exception(error)))
    sys.stderr.write(f"{text}mmbd: failed: this was not foreseen; please report it\n")
    sys.stderr.flush()
