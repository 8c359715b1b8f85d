"""Zoos that `mmbd zoo make` wrote: models with their cards, and an index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset
from mmbd.formats.loading import load_file
from mmbd.formats.options import LoadOptions
from mmbd.model.classifier import Classifier
from mmbd.zoo import cards, index
from mmbd.zoo.entry import Entry, Zoo

TRIGGER = ".trigger.safetensors"


def cards_in(path: str | Path) -> dict[str, Mapping[str, Any]]:
    """The readable cards of a zoo of our own, by name; none for other zoos."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(Path(path).glob("*.json")):
        try:
            found[file.stem] = cards.read(file)
        except Failed:  # `read` says so
            continue
    return found


def recognise(path: Path) -> bool:
    """Whether a folder has a zoo's index, or models."""
    return path.is_dir() and ((path / index.NAME).is_file() or any(path.glob("*.safetensors")))


def read(folder: Path, options: LoadOptions) -> Zoo:
    """Read the cards of the models; `options` say where these run, the rest stands in their files."""
    found: dict[str, dict[str, Any]] = {}
    broken = index.failed(folder)
    names = {
        file.name.removesuffix(".safetensors")
        for file in folder.glob("*.safetensors")
        if not file.name.endswith(TRIGGER)
    }
    names |= {
        file.stem for file in folder.glob("*.json") if file.name != index.NAME and _claims_to_be_a_card(file)
    }
    for name in sorted(names):
        broken.pop(name, None)
        try:
            if not cards.path(folder, name).exists():
                raise Failed("no card beside the model: its training was cut off; make it again")
            card = cards.read(cards.path(folder, name))
            if not (folder / f"{name}.safetensors").is_file():
                raise Failed("a card without its model: make it again")
            found[name] = card
        except (Failed, OSError) as error:
            broken[name] = str(error)
    excluded, root = cards.excluded(found.values()), folder / index.root(folder)
    entries = tuple(_entry(folder, card, excluded.get(name), options, root) for name, card in found.items())
    return Zoo(entries, tuple(sorted(broken.items())))


def _claims_to_be_a_card(file: Path) -> bool:
    """Reports and other JSON may lie beside the models; a broken card says what it was."""
    try:
        return b'"card"' in reading.start(file, 200)
    except (Failed, OSError):
        return True


def _entry(
    folder: Path, card: Mapping[str, Any], excluded: str | None, options: LoadOptions, root: Path
) -> Entry:
    name = card["name"]
    return Entry(
        name,
        card["label"],
        partial(_open, folder / f"{name}.safetensors", card["sha256"], options),
        attack=card["attack"],
        targets=tuple(card["targets"]),
        excluded=excluded,
        group=cards.group(card),
        seed=card["seed"],
        samples=partial(_samples, card, root) if {"train", "test"} <= set(_data(card)) else None,
    )


def _data(card: Mapping[str, Any]) -> Mapping[str, Any]:
    return card["settings"].get("data", {})


def _samples(card: Mapping[str, Any], root: Path) -> Dataset:
    from mmbd.zoo.samples import described

    digests = card.get("digests")
    expected = digests.get("test") if isinstance(digests, dict) else None
    try:
        return described(_data(card), root, expected)
    except (ValueError, OSError) as error:
        hint = ": put it there, or give samples of your own" if isinstance(error, OSError) else ""
        raise Failed(f"{reading.named(card['name'])}: no samples: {error}{hint}") from error


def _open(file: Path, sha256: str, options: LoadOptions) -> Classifier:
    known = {name: getattr(options, name) for name in ("device", "max_bytes", "sandbox")}
    loaded = load_file(file, LoadOptions(**known))
    if loaded.model.sha256 != sha256:
        raise Failed(f"{file}: not the file that its card describes (its SHA-256 differs)")
    return loaded.classifier
