"""The cards of a zoo: one JSON file a model, and which models are excluded by what all say together.

An excluded model counts neither as hit nor as miss. That is worked out when a zoo is read, so that
the order in which its models were made has no say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.reading import MAX_CLASSES, brief
from mmbd.base.schema import check
from mmbd.base.text import clean_text
from mmbd.base.writing import write_text as write_text

VERSION = 1
ENOUGH = 0.8  # attacks below this success rate are neither hits nor misses (paper, section 6.1)
FALL = 0.05

PARTS = ("data", "arch", "attack", "recipe")  # of the settings
TEXTS = ("name", "file", "data", "arch", "attack", "sha256")
SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
# Every field that anything reads: whoever made the zoo wrote the card.
SCHEMA: dict[str, Any] = {
    "required": [*TEXTS, "label", "seed", "sources", "targets", "accuracy", "settings"],
    "properties": {
        **{key: {"type": "string"} for key in TEXTS},
        "label": {"enum": ["clean", "backdoored"]},
        "seed": {"type": "integer", "exclusiveMinimum": -(2**63), "exclusiveMaximum": 2**63},
        "sources": {"type": "array"},
        "targets": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "exclusiveMaximum": MAX_CLASSES},
        },
        "accuracy": SHARE | {"type": "number"},
        "train_accuracy": SHARE,
        "asr": SHARE,
        "seconds": {"type": "number", "minimum": 0, "exclusiveMaximum": 1e12},
        "settings": {"type": "object", "properties": {key: {"type": "object"} for key in PARTS}},
    },
}


def path(folder: Path, name: str) -> Path:
    """Where the card of the model `name` is."""
    return folder / f"{name}.json"


def write(folder: Path, card: Mapping[str, Any]) -> None:
    """Write a card, whole or not at all; one line a field."""
    lines = [f"{json.dumps(key)}: {json.dumps(card[key], allow_nan=False)}" for key in card]
    write_text(path(folder, card["name"]), "{\n" + ",\n".join(lines) + "\n}\n")


def read(file: Path) -> dict[str, Any]:
    """Read and check one card.

    Raises:
        Failed: not readable, not a card, of another version, or a field is missing or wrong.
    """
    try:
        return _checked(reading.json_value(file, finite=True), file.stem)
    except (Failed, OSError) as error:
        said = str(error).removeprefix(f"{reading.named(file)}: ")
        raise Failed(f"{clean_text(file.name)}: the card cannot be read: {said}") from error


def _checked(card: Any, stem: str) -> dict[str, Any]:
    if not isinstance(card, dict) or card.get("card") != VERSION:
        found = card.get("card") if isinstance(card, dict) else None
        raise Failed(f"a card of version {brief(found)}; this release reads {VERSION}")
    try:
        check(card, SCHEMA, SCHEMA, "the card")
    except ValueError as error:
        raise Failed(clean_text(str(error), 300)) from error
    if (card["label"] == "clean") != (card.setdefault("asr", None) is None):
        raise Failed(f"the label {brief(card['label'])} does not go with asr {brief(card['asr'])}")
    if card["name"] != stem or card["file"] != f"{stem}.safetensors":
        raise Failed(f"the card is of another model, {brief(card['name'])}")
    return card


def group(card: Mapping[str, Any]) -> str:
    """The group of models that this one is compared with: those of the same data and architecture."""
    return f"{card['data']} {card['arch']}"


def excluded(cards: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Name -> why the model counts neither way, for those that do not.

    An attack must reach a success rate of 80 %. The accuracy of backdoored and of ordinary clean
    models must not lie more than 5 points below the mean of the ordinary clean models of the same
    data and architecture; difficult trainings may cost accuracy.
    """
    every = list(cards)
    clean: dict[str, list[float]] = {}
    for card in every:
        if ordinary(card):
            clean.setdefault(group(card), []).append(card["accuracy"])
    found: dict[str, str] = {}
    for card in every:
        reasons: list[str] = []
        if card["asr"] is not None and card["asr"] < ENOUGH:
            reasons.append(f"attack failed: ASR {card['asr']:.1%}, below {ENOUGH:.0%}")
        peers = clean.get(group(card), [])
        if peers and (ordinary(card) or card["label"] == "backdoored"):
            mean = fmean(peers)
            # Shares of whole samples: no true difference is as small as rounding.
            fell = mean - card["accuracy"]
            if fell > FALL and not math.isclose(fell, FALL, abs_tol=1e-9):
                reasons.append(f"accuracy fell: {card['accuracy']:.1%}, clean models have {mean:.1%}")
        if reasons:
            found[card["name"]] = "; ".join(reasons)
    return found


def ordinary(card: Mapping[str, Any]) -> bool:
    """Whether this is a clean model from a training that anyone would do."""
    return card["label"] == "clean" and card["settings"].get("attack", {}).get("kind") == "clean"
