"""Which file of a folder holds the weights: the one that the hubs' names say."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats import hub_folder, refusals
from mmbd.formats.table import SUFFIXES

WEIGHTS = hub_folder.WEIGHTS
HEAD = 1 << 20

# Names that hubs give to what is not a classifier's weights for PyTorch, and what to do then.
OTHERS: dict[str, str] = {
    "adapter_model.safetensors": (
        "an adapter (PEFT), which is only a part of a model: merge it into its base model, save "
        "the weights of that, and scan them"
    ),
    "tf_model.h5": f"weights for TensorFlow. {refusals.KERAS}",
    "flax_model.msgpack": (
        "weights for Flax: save them for PyTorch or as safetensors, with the names that the "
        "network has in PyTorch, and scan that"
    ),
}
OTHERS["adapter_model.bin"] = OTHERS["adapter_model.safetensors"]


def weights_in(folder: Path, *, alone: bool = False) -> tuple[Path, tuple[str, ...]]:
    """The one file of a folder to read, and notes on the choice.

    Where several of the hubs' names are there, the first of WEIGHTS: that is what the hubs' own loaders
    take; and with weights a `config.json` that says which network they are for.

    Args:
        folder: where to look.
        alone: take the weights and leave `config.json`, as somebody else says what they are for.

    Raises:
        Failed: none of them, or several files; the message says which and what to name.
        Refused: a program.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    if "saved_model.pb" in names:
        raise refusals.refusal(refusals.SAVED_MODEL)
    found = [name for name in WEIGHTS if name in names]
    if found:
        others = (
            f"{name} beside it was left alone: scan it by its own name if it is what gets used"
            for name in found[1:]
        )
        if not alone and "config.json" in names and _describes(folder / "config.json"):
            return folder / "config.json", tuple(others)
        return folder / found[0], (f"the folder's weights file is {found[0]}", *others)
    expected = "expected a folder with model.safetensors or pytorch_model.bin"
    models = [
        name
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.lower().endswith(".json") and name not in OTHERS
    ]
    place = clean_text(str(folder), 200)
    if len(models) > 1:
        suffix = PurePath(models[0]).suffix
        raise Failed(
            f"{expected}, found {len(models)} other files that may hold a model "
            f"({listed(models)}): name them, for example `mmbd scan -- {place}/*{clean_text(suffix)}`"
        )
    if models:
        raise Failed(f"{expected}, found {listed(models)}: name that file, in {place}")
    if known := [name for name in OTHERS if name in names]:
        raise Failed(f"{expected}, found {known[0]}, {OTHERS[known[0]]}")
    raise Failed(f"{expected}, found {listed(names) or 'an empty folder'}: name a file instead")


def _describes(file: Path) -> bool:
    """Whether a `config.json` says which network the weights beside it are for."""
    try:
        return hub_folder.recognise(reading.start(file, HEAD))
    except (Failed, OSError):
        return False
