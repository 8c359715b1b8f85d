"""Finds the state dict in what a checkpoint holds: envelopes around it, prefixes on its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmbd.errors import Failed
from mmbd.load.text import listed, shown

MAX_DEPTH = 8
# Wrappers (DataParallel, torch.compile) leave these; no architecture has them of its own.
WRAPPERS = ("module.", "_orig_mod.")
# BatchNorm counts batches since 0.4.1; older files lack the count, and inference ignores it.
OPTIONAL = "num_batches_tracked"
# torch.optim.swa_utils.AveragedModel keeps its count beside the model.
AVERAGED = "n_averaged"

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, where they were (`entry`, "" at the top), and what was done to find them."""

    entry: str
    tensors: Tensors
    notes: tuple[str, ...] = ()


def candidates(value: Any) -> list[StateDict]:
    """Every state dict in `value`: a mapping of names to tensors, also inside other mappings and
    lists of one.

    Raises:
        Failed: there is none; the message says what was found instead.
    """
    found: list[StateDict] = []
    _search(value, (), found, set())
    if found:
        return found
    if isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values()):
        for key, item in value.items():
            if not isinstance(item, Tensor):
                raise Failed(
                    f"the state dict has an entry {shown(key)!r} that is no tensor but "
                    f"{type(item).__name__}: save model.state_dict() alone, or under one key"
                )
    if isinstance(value, Mapping):
        raise Failed(
            "the file holds no state dict (names with tensors); its entries are: "
            f"{listed(map(str, value)) or 'none'}"
        )
    raise Failed(f"the file holds no state dict (names with tensors) but {type(value).__name__}")


def _search(value: Any, path: tuple[str, ...], found: list[StateDict], seen: set[int]) -> None:
    # Each object once: shared ones could otherwise be nested into exponentially many paths.
    if id(value) in seen or len(path) > MAX_DEPTH:
        return
    seen.add(id(value))
    if isinstance(value, Mapping) and value:
        if all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items()):
            found.append(StateDict("/".join(path), dict(value)))
            return
        for key, item in value.items():
            if isinstance(key, str):  # numbers are the parameters of an optimiser
                _search(item, (*path, shown(key)), found, seen)
    elif isinstance(value, list | tuple) and len(value) == 1:
        _search(value[0], (*path, "[0]"), found, seen)


def choose(found: list[StateDict], expected: set[str], entry: str | None = None) -> StateDict:
    """The state dict whose names are `expected` once prefixes are off; with `entry`, that one.

    If none fits, the one that comes closest, so that the strict load can say what is wrong.

    Raises:
        Failed: several fit, or there is no such entry.
    """
    places = listed([item.entry or "(top)" for item in found], most=20)
    if entry is not None:
        found = [item for item in found if item.entry == entry]
        if not found:
            raise Failed(f"the checkpoint has no entry {shown(entry)!r}; it has: {places}")
    stripped = [_strip(item, expected) for item in found]
    fitting = [item for item in stripped if _fits(set(item.tensors), expected)]
    if len(fitting) > 1:
        raise Failed(
            "the checkpoint holds several state dicts that fit: "
            f"{listed([item.entry for item in fitting], most=20)}; name one with entry="
        )
    chosen = max(fitting or stripped, key=lambda item: len(expected & set(item.tensors)))
    notes = chosen.notes
    if chosen.entry:
        notes = (f"unwrapped envelope {shown(chosen.entry)!r}", *notes)
    if others := [item.entry for item in found if item.entry != chosen.entry]:
        notes = (*notes, f"left alone in the same file: {listed(others)}")
    return StateDict(chosen.entry, chosen.tensors, notes)


def _fits(names: set[str], expected: set[str]) -> bool:
    missing = expected - names
    return names <= expected and all(name.rpartition(".")[2] == OPTIONAL for name in missing)


def _strip(item: StateDict, expected: set[str]) -> StateDict:
    """Take wrappers' prefixes off; any other common prefix only if every name then fits."""
    tensors, notes = item.tensors, item.notes
    if AVERAGED in tensors and AVERAGED not in expected:
        tensors = {name: value for name, value in tensors.items() if name != AVERAGED}
        notes = (*notes, f"left out {AVERAGED!r}")
    for _ in range(MAX_DEPTH):
        prefix = _common_prefix(tensors)
        if prefix not in WRAPPERS or _fits(set(tensors), expected):
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        notes = (*notes, f"stripped prefix {prefix!r}")
    inner, prefixes = tensors, ""
    for _ in range(MAX_DEPTH):
        prefix = _common_prefix(inner)
        if not prefix or _fits(set(inner), expected):
            break
        inner = {name.removeprefix(prefix): value for name, value in inner.items()}
        prefixes += prefix
    if prefixes and _fits(set(inner), expected):
        return StateDict(item.entry, inner, (*notes, f"stripped prefix {shown(prefixes)!r}"))
    return StateDict(item.entry, tensors, notes)


def _common_prefix(tensors: Tensors) -> str:
    """The first component, with its dot, if all names share it and have more; "" otherwise."""
    first = {name.partition(".")[0] for name in tensors}
    if len(first) != 1 or not all(name.partition(".")[2] for name in tensors):
        return ""
    return f"{first.pop()}."
