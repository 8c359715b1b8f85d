"""zoo.json: the plan of a zoo and the state of each of its models, also of those that failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.reading import brief
from mmbd.base.text import clean_text
from mmbd.base.writing import write_text as write_text

NAME = "zoo.json"
VERSION = 1
SHOWN = ("label", "data", "arch", "attack", "seed", "targets", "accuracy", "asr")


def read(folder: Path) -> dict[str, Any]:
    """The index in `folder`, empty if there is none; models of earlier plans stay in it."""
    empty: dict[str, Any] = {"zoo": VERSION, "plan": "", "entries": {}}
    try:
        found = reading.json_value(folder / NAME)
    except (OSError, Failed):
        return empty  # the cards are what counts
    sound = isinstance(found, dict) and isinstance(found.get("entries"), dict)
    return {**empty, **found, "zoo": VERSION} if sound else empty


def root(folder: Path) -> str:
    """Where relative paths of the models' data begin, itself relative to the zoo's folder."""
    found = read(folder).get("root")
    return found if isinstance(found, str) else ""


def write(folder: Path, index: Mapping[str, Any]) -> None:
    """Write the index, whole or not at all."""
    write_text(folder / NAME, json.dumps(index, indent=1) + "\n")


def made(card: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a model with this card."""
    return {"state": "made", **{key: card.get(key) for key in SHOWN}}


def failed(folder: Path) -> dict[str, str]:
    """The models that could not be made, with the reasons."""
    return {
        name: f"not made: {_reason(entry.get('reason'))}"
        for name, entry in read(folder)["entries"].items()
        if isinstance(entry, dict) and entry.get("state") == "failed"
    }


def _reason(said: object) -> str:
    return clean_text(said, 1000) if isinstance(said, str) else brief(said)
