"""Which model files a command line means: files, folders of them, and patterns that no shell has expanded."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path


def expanded(paths: Iterable[Path]) -> list[Path]:
    """Every path that is a file or one model's folder, and the models in folders of several.

    What a pattern or a folder stands for comes once, and not where it has been named before.
    A folder that hubs have one model in stays as it is, and so does one in which no file looks like a model:
    reading it says what is wrong. Folders in folders are looked into only if they are one model's.
    """
    found: list[Path] = []
    for path in paths:
        for each in _matching(path):
            inside = _inside(each) or [each]
            named = inside == [path]
            found.extend(one for one in inside if named or one not in found)
    return found


def _matching(path: Path) -> list[Path]:
    """The files that a pattern such as models/*.pt stands for; a path that is there stands for itself."""
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [path]
    # Path.glob takes no absolute patterns.
    return [Path(each) for each in sorted(glob.glob(str(path)))] or [path]  # noqa: PTH207


def _inside(path: Path) -> list[Path]:
    """The models in a folder of several; empty for a file, and for a folder to be read as it is."""
    from mmbd.formats.folders import WEIGHTS
    from mmbd.formats.table import SUFFIXES
    from mmbd.results import artifacts
    from mmbd.workflows.fleet.below import FOREIGN, ONE

    if not path.is_dir() or any((path / name).exists() for name in (*WEIGHTS, *ONE)):
        return []
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return []
    known = (*SUFFIXES, *FOREIGN)
    return [
        each
        for each in entries
        if (each.is_dir() and any((each / name).is_file() for name in WEIGHTS))
        or (
            each.name.lower().endswith(known)
            and not each.is_dir()
            and not each.name.endswith((".json", artifacts.SUFFIX))
        )
    ]
