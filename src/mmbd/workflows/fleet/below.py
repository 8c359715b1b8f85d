"""Every model below a folder: files by the names that models have, and folders that are one model.

Links to folders are not followed, so that no walk goes round in a circle; what begins with a dot is left
out. Of formats that are refused the files count as well: a fleet with one of them is not wholly clean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.formats.folders import WEIGHTS
from mmbd.formats.table import SUFFIXES
from mmbd.results import artifacts

# Suffixes of models in formats that are refused: a folder with one of them is not wholly clean.
FOREIGN = (
    ".gguf",
    ".joblib",
    ".mar",
    ".mlmodel",
    ".msgpack",
    ".npz",
    ".pb",
    ".pickle",
    ".pkl",
    ".pte",
    ".ptl",
    ".tflite",
    ".torchscript",
)
# What says that a folder is one model and not several.
ONE = ("saved_model.pb", "adapter_config.json")


def models(folder: Path) -> list[tuple[str, Path]]:
    """The models below a folder, by their names in it (with "/"), sorted.

    Raises:
        Failed: it is no folder, or one of its folders cannot be listed.
    """
    found = dict(_models(folder, folder))
    return [(name, found[name]) for name in sorted(found)]


def is_model(name: str) -> bool:
    """Whether a file of this name is a model's, or looks like one of a format that is refused."""
    low = name.lower()
    return low.endswith((*SUFFIXES, *FOREIGN)) and not low.endswith((".json", artifacts.SUFFIX))


def _models(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise Failed(f"{reading.named(folder)}: the folder cannot be read: {error.strerror}") from error
    one = folder != root and any(entry.name in (*WEIGHTS, *ONE) for entry in entries)
    if one:
        yield folder.relative_to(root).as_posix(), folder
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _models(path, root)
        elif not one and not entry.is_dir() and is_model(entry.name):
            yield path.relative_to(root).as_posix(), path
