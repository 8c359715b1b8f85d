"""A zoo from disk, whoever made it: labelled entries, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.devices import usable
from mmbd.base.errors import Failed
from mmbd.model.classifier import Classifier
from mmbd.zoo import cards, foreign, index
from mmbd.zoo.entry import Entry, Zoo

TRIGGER = ".trigger.safetensors"


def read(path: str | Path, *, device: str = "cpu", **loading: Any) -> Zoo:
    """Read a zoo without loading its models.

    Args:
        path: a folder that `zoo make` wrote, a folder of BackdoorBench or TrojAI models, or a
            table (.csv); see `foreign`.
        device: where entries open.
        loading: for models of others: arguments of `mmbd.load`, such as arch and input_shape.

    Raises:
        Failed: nothing there that looks like a zoo.
        ValueError: the device cannot be used.

    Example:
        >>> [entry.name for entry in read("zoo/").entries]
        ['backdoored-0', 'backdoored-1', 'clean-0', 'clean-1']
    """
    usable(device)
    path = Path(path)
    reader = _reader(path)
    if reader is None:
        return _own(path, device)
    return reader(path, device=device, **loading)


def cards_in(path: str | Path) -> dict[str, Mapping[str, Any]]:
    """The readable cards of a zoo of our own, by name; none for other zoos."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(Path(path).glob("*.json")):
        try:
            found[file.stem] = cards.read(file)
        except Failed:  # `read` says so
            continue
    return found


def _reader(path: Path) -> Callable[..., Zoo] | None:
    """What reads somebody else's zoo; None for our own."""
    if path.is_file() and path.suffix.lower() == ".csv":
        return foreign.table
    if not path.is_dir():
        raise Failed(f"{path}: expected a zoo's folder or a .csv table")
    if (path / index.NAME).is_file() or any(path.glob("*.safetensors")):
        return None
    if foreign.trojai_folders(path):
        return foreign.trojai
    if foreign.attack_results(path):
        return foreign.backdoorbench
    raise Failed(
        f"{path}: no zoo: expected {index.NAME} and models with their cards, folders with "
        f"{foreign.RESULT} (BackdoorBench), or folders id-... with model.pt (TrojAI)"
    )


def _own(folder: Path, device: str) -> Zoo:
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
    marks = cards.marks(found.values())
    entries = tuple(_entry(folder, card, marks.get(name), device) for name, card in found.items())
    return Zoo(entries, tuple(sorted(broken.items())))


def _claims_to_be_a_card(file: Path) -> bool:
    """Reports and other JSON may lie beside the models; a broken card says what it was."""
    try:
        return b'"card"' in reading.start(file, 200)
    except (Failed, OSError):
        return True


def _entry(folder: Path, card: Mapping[str, Any], mark: str | None, device: str) -> Entry:
    name = card["name"]
    return Entry(
        name,
        card["label"],
        partial(_open, folder / f"{name}.safetensors", card["sha256"], device),
        attack=card["attack"],
        targets=tuple(card["targets"]),
        set_aside=mark,
        group=cards.group(card),
        seed=card["seed"],
    )


def _open(file: Path, sha256: str, device: str) -> Classifier:
    from mmbd.formats.load import load

    loaded = load(file, device=device)
    if loaded.model.sha256 != sha256:
        raise Failed(f"{file}: not the file that its card describes (its SHA-256 differs)")
    return loaded.classifier
