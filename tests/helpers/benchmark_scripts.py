"""Benchmark scripts as modules: they are no package, and find each other beside themselves."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    """The script `name`, such as "gpu_zoo" or "paper/table1"."""
    path = BENCHMARKS / name
    with patch.object(sys, "path", [str(path.parent), *sys.path]):
        return importlib.import_module(path.name)
