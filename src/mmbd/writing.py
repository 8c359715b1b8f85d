"""Files that are written whole or not at all, and that replace nothing unless told to."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path, *, force: bool = False) -> Generator[Path]:
    """Inside this context write to the path it gives; it becomes `path` if nothing is raised.

    Raises:
        FileExistsError: at once, where `path` exists and `force` is not given.
    """
    path = Path(path)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already and was left alone: give force to replace it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # some libraries write for the owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
