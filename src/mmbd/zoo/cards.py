"""The cards of a zoo: one JSON file a model, and the marks that follow from all of them together.

A mark says why a model counts neither as hit nor as miss. Marks are worked out when a zoo is read,
so that the order in which its models were made has no say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from mmbd.errors import Failed
from mmbd.report import write as write_text

VERSION = 1
ENOUGH = 0.8  # attacks below this success rate are neither hits nor misses (paper, section 6.1)
FALL = 0.05

FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "name": str, "file": str, "label": str, "data": str, "arch": str, "attack": str, "seed": int,
    "sources": list, "targets": list, "accuracy": (int, float), "sha256": str, "settings": dict,
}  # fmt: skip


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
        card = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Failed(f"{file.name}: the card cannot be read: {error}") from error
    if not isinstance(card, dict) or card.get("card") != VERSION:
        found = card.get("card") if isinstance(card, dict) else None
        raise Failed(f"{file.name}: a card of version {found!r:.40}; this release reads {VERSION}")
    for name, kind in FIELDS.items():
        if not isinstance(card.get(name), kind) or isinstance(card[name], bool):
            raise Failed(f"{file.name}: the card's {name} is missing or of the wrong kind")
    asr = card.get("asr")
    shares = [card["accuracy"], *([] if asr is None else [asr])]
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
        raise Failed(f"{file.name}: accuracy and asr must be shares from 0 to 1")
    if card["label"] not in ("clean", "backdoored") or (card["label"] == "clean") != (asr is None):
        raise Failed(f"{file.name}: the label {card['label']!r:.40} does not go with asr {asr}")
    if not all(type(label) is int and label >= 0 for label in card["targets"]):
        raise Failed(f"{file.name}: the card's targets must be classes")
    if card["name"] != file.stem:
        raise Failed(f"{file.name}: the card is of another model, {card['name']!r:.80}")
    return card


def group(card: Mapping[str, Any]) -> str:
    """What a model is compared within: data and architecture."""
    return f"{card['data']} {card['arch']}"


def marks(cards: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Name -> why the model is set aside, for those that are.

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
                reasons.append(
                    f"accuracy fell: {card['accuracy']:.1%}, clean models have {mean:.1%}"
                )
        if reasons:
            found[card["name"]] = "; ".join(reasons)
    return found


def ordinary(card: Mapping[str, Any]) -> bool:
    """Whether this is a clean model from a training that anyone would do."""
    return card["label"] == "clean" and card["settings"].get("attack", {}).get("kind") == "clean"
