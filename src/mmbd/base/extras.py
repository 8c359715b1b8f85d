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
    if "scipy.special" in sys.modules:
        return
    try:
        mmap.mmap(-1, 128 << 20).close()  # asked for, and never touched
    except OSError as error:
        raise MemoryError("not enough memory to load scipy") from error
