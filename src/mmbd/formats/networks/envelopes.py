"""Finds the state dicts in what a checkpoint holds, whatever envelopes are around them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import STATE

MAX_DEPTH = 8
MAX_ALIASES = 20
MAX_FOUND = 10_000  # an optimiser has one for each of the network's tensors
TOP = "(top)"

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, and where they were: every place of the same mapping, "" at the top.

    What is `aside` is never taken unless it is named: one of several in a list, under a number, or
    the tensors of a mapping that holds other things too, NumPy arrays among them. It is known all
    the same, since somebody may load it. `notes` are sentences on what was done to find it.
    """

    places: tuple[str, ...]
    tensors: Tensors
    aside: bool = False
    notes: tuple[str, ...] = ()

    @property
    def entry(self) -> str:
        return self.places[0]

    @property
    def label(self) -> str:
        return self.entry or TOP


def candidates(value: Any, entry: str | None = None) -> list[StateDict]:
    """Every state dict in `value`: a mapping of names to tensors, also inside other mappings and
    lists. With `entry`, what is aside may be all there is.

    Raises:
        Failed: there is none, and the message says what was found instead; or far too many.
    """
    found = _search(value)
    if len(found) > MAX_FOUND:
        raise Failed(
            f"the checkpoint holds {len(found):,} mappings of names to tensors, expected at most "
            f"{MAX_FOUND:,}: save model.state_dict() alone"
        )
    if any(not item.aside for item in found) or (found and entry is not None):
        return found
    named = listed((item.label for item in found), most=20)
    way = f"; --entry NAME (entry= in Python) can name: {named}" if found else ""
    told = way or f". {STATE}"
    if isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values()):
        for key, item in value.items():
            if not isinstance(item, Tensor):
                raise Failed(
                    f"the state dict has an entry {clean_text(_text(key))!r} that is no tensor but "
                    f"{type(item).__name__}: save model.state_dict() alone, or under one key{way}"
                )
    if isinstance(value, Mapping):
        raise Failed(
            "the file holds no state dict (names with tensors); its entries are: "
            f"{listed(map(_text, value)) or 'none'}{told}"
        )
    raise Failed(f"the file holds no state dict (names with tensors) but {type(value).__name__}{told}")


def _search(value: Any) -> list[StateDict]:
    """Go through `value` by depth, so that each object is met where it is the least deep.

    Each is opened once: shared ones could otherwise be nested into exponentially many paths.
    """
    seen: set[int] = set()
    tensors: dict[int, dict[str, Tensor]] = {}
    places: dict[int, list[str]] = {}
    aside: dict[int, bool] = {}
    queue: deque[tuple[Any, tuple[str, ...], bool]] = deque([(value, (), False)])
    while queue:
        item, path, apart = queue.popleft()
        if id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, Mapping):
                held = {
                    key: tensor
                    for key, each in item.items()
                    if isinstance(key, str) and (tensor := _tensor(each)) is not None
                }
                if held:
                    tensors[id(item)] = held
            if len(path) < MAX_DEPTH:
                queue.extend(_inside(item, path, apart))
        if id(item) in tensors:
            mixed = not all(tensors[id(item)].get(key) is each for key, each in item.items())
            aside[id(item)] = aside.get(id(item), True) and (apart or mixed)
            known = places.setdefault(id(item), [])
            if len(known) < MAX_ALIASES:
                known.append("/".join(path))
    return [StateDict(tuple(names), tensors[identity], aside[identity]) for identity, names in places.items()]


def _tensor(value: Any) -> Tensor | None:
    """A tensor, also one that somebody would make of a NumPy array of numbers."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        return None
    try:
        return torch.from_numpy(value if value.flags.writeable else value.copy())
    except (TypeError, ValueError):  # no numbers, or none that torch knows
        return None


def _inside(value: Any, path: tuple[str, ...], apart: bool) -> Iterable[Any]:
    """What to look at in a mapping or a list, where it is, and whether it is aside."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, Mapping | list | tuple) and isinstance(key, str | int):
                yield item, (*path, clean_text(_text(key))), apart or not isinstance(key, str)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, Mapping | list | tuple):
                yield item, (*path, f"[{index}]"), apart or len(value) > 1


def _text(key: Any) -> str:
    if isinstance(key, int) and key.bit_length() > 64:
        return "[a number]"  # Python does not print the longest ones
    return str(key)
