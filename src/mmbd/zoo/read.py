"""A zoo from disk, whoever made it: labelled entries, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmbd.base.devices import usable
from mmbd.base.errors import Failed
from mmbd.formats.options import LoadOptions
from mmbd.zoo import backdoorbench, own, table, trojai
from mmbd.zoo.entry import Zoo


@dataclass(frozen=True)
class Reader:
    """A kind of zoo.

    Args:
        title: what it looks like on disk.
        recognise: whether there is one at a path that exists.
        read: its entries; the options say what the models' files do not.
    """

    title: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, LoadOptions], Zoo]


# The first that recognises a path reads it. A new kind of zoo is a file with both functions, and a row.
READERS: dict[str, Reader] = {
    "mmbd": Reader(
        "zoo.json and models with their cards, as mmbd zoo make writes them", own.recognise, own.read
    ),
    "trojai": Reader("folders id-... with model.pt (TrojAI)", trojai.recognise, trojai.read),
    "backdoorbench": Reader(
        "folders with attack_result.pt (BackdoorBench)", backdoorbench.recognise, backdoorbench.read
    ),
    "table": Reader(
        "a table (.csv) of models with the columns path, label and target", table.recognise, table.read
    ),
}


def read(path: str | Path, options: LoadOptions | None = None, **fields: Any) -> Zoo:
    """Read a zoo without loading its models.

    Args:
        path: a folder that `mmbd zoo make` wrote, or another of the kinds in READERS.
        options: where models run, and for models of others what their files do not say.
        **fields: fields of the options, such as device, arch and input_shape.

    Raises:
        Failed: nothing there that looks like a zoo.
        ValueError: the device cannot be used.

    Example:
        >>> [entry.name for entry in read("zoo/").entries]
        ['backdoored-0', 'backdoored-1', 'clean-0', 'clean-1']
    """
    options, path = replace(options or LoadOptions(), **fields), Path(path)
    usable(options.device)
    for reader in READERS.values():
        if reader.recognise(path):
            return reader.read(path, options)
    if not path.is_dir():
        raise Failed(f"{path}: expected a zoo's folder or a .csv table")
    raise Failed(f"{path}: no zoo: expected {'; '.join(reader.title for reader in READERS.values())}")
