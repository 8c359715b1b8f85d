"""Optional dependencies: imported where they are used, named when they are missing."""

from __future__ import annotations

import importlib
import mmap
import sys
from typing import Any


def require(module: str, *, extra: str) -> Any:
    """Import `module`; when it is missing, an ImportError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is needed for this; install it with: pip install 'mmbd[{extra}]'"
        ) from error


def room_for_scipy() -> None:
    """MemoryError where there is none for OpenBLAS, which scipy loads and which would wait for ever."""
    if "scipy.linalg" not in sys.modules:
        room(256, "scipy")


def room(megabytes: int, what: str) -> None:
    """MemoryError where a process may not have so many more megabytes, to load `what`."""
    try:
        mmap.mmap(-1, megabytes << 20).close()  # asked for, and never touched
    except OSError as error:
        raise MemoryError(f"not enough memory to load {what}") from error
