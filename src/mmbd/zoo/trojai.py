"""Zoos of TrojAI: folders id-... with a model, and files that say what is true of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.formats import files
from mmbd.formats.options import LoadOptions
from mmbd.formats.sandbox.reading import contents
from mmbd.zoo.entry import Entry, Zoo
from mmbd.zoo.foreign import collect, is_number, label_of, open_model, word

FOLDER = "id-*"
TARGET = re.compile(r"(triggers?_(\d+_)?)?target_class")


def recognise(path: Path) -> bool:
    """Whether there are folders of models, here or in `models`."""
    return bool(_folders(path))


def _folders(path: Path) -> list[Path]:
    return sorted(
        folder for pattern in (FOLDER, f"models/{FOLDER}") for folder in path.glob(pattern) if folder.is_dir()
    )


def read(path: Path, options: LoadOptions) -> Zoo:
    """Read folders id-.../ with `model.pt`, `ground_truth.csv` and `config.json`, as TrojAI's.

    Most of TrojAI's models are pickles of whole networks, which are refused. The rest need `arch`
    and `input_shape`.
    """
    return collect((folder.name, partial(_entry, folder, options)) for folder in _folders(path))


def _entry(folder: Path, options: LoadOptions) -> Entry:
    config = _config(folder / "config.json")
    truth = folder / "ground_truth.csv"
    said = reading.text(truth) if truth.exists() else word(config.get("poisoned"))
    label = label_of((said.replace(",", " ").split() or [""])[-1])
    model = next(
        (folder / name for name in ("model.pt", "model.safetensors") if (folder / name).is_file()),
        folder / "model.pt",
    )
    found = files.read(model)
    contents(found, options.sandbox)  # refuses what is not weights alone
    targets = _targets(config) if label == "backdoored" else ()
    return Entry(
        folder.name,
        label,
        partial(open_model, model, options),
        attack="clean" if label == "clean" else "trojai",
        targets=targets,
        group=clean_text(word(config.get("model_architecture"))),
    )


def _config(file: Path) -> dict[str, Any]:
    """`config.json` with lower-case keys, whose spelling changed between rounds; {} without."""
    if not file.exists():
        return {}
    config = reading.json_value(file)
    if not isinstance(config, dict):
        raise Failed("config.json is not an object")
    return {str(key).lower(): value for key, value in config.items()}


def _targets(config: Mapping[str, Any]) -> tuple[int, ...]:
    triggers = config.get("triggers")
    parts = [config, *(triggers if isinstance(triggers, list) else [])]
    found = {
        int(value)
        for part in parts
        if isinstance(part, Mapping)
        for key, value in part.items()
        if TARGET.fullmatch(str(key)[:80].lower()) and is_number(word(value))
    }
    return tuple(sorted(found))
