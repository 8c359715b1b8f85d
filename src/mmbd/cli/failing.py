"""What files, data and networks raise, as failures (exit 2) that name what failed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import clean_text
from mmbd.cli.options import Usage
from mmbd.workflows import scan_file as gate


@contextmanager
def failing(what: str) -> Generator[None]:
    """Whatever is raised inside is a failure of the file, the data or the network; Failed says so.

    Kinds that say more stay what they are.
    """
    try:
        yield
    except (Usage, Failed, Refused, NotEvaluable, ImportError, MemoryError) as error:
        if type(error).__name__ != "NotExported":  # names no file; its module imports torch
            raise
        raise Failed(f"{clean_text(what, 400)}: {clean_text(error, 1000)}") from error
    except OSError as error:
        raise Failed(f"{clean_text(what, 400)}: {clean_text(error, 1000)}") from error
    except (Exception, SystemExit) as error:
        raise Failed(f"{clean_text(what, 400)}: {gate.raised(error)}") from error
