"""The arrays of a file, handed out to the layers that they belong to: each once, each of the right shape.

Keras 3 files them by paths (`conv2d_1/vars/0`), in which a layer goes by its class and a number; the
older layout lists those of every layer by name (`conv/kernel:0`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import KERAS_AGAIN, broken
from mmbd.formats.keras.config import Described

Shape = tuple[int | None, ...]
NAMELESS = "variable"  # what Keras calls an array to which its layer gave no name
IDLE = re.compile(r"(^|/)(seed_generator|_?metrics|optimizer)[^/]*/")  # of no use in a forward pass


class Weights(Protocol):
    """The arrays of one layer, of a part of it, or of a whole model."""

    def take(self, name: str, shape: Shape | None = None) -> Tensor:
        """The layer's next array, which is called `name` (kernel, gamma), as float32 on the CPU.

        Args:
            name: as Keras calls it.
            shape: that it must have; None for a length that is not known. None for any shape.

        Raises:
            Failed: it is not there, has another shape, or is no array of finite numbers.
        """
        ...

    def optional(self, name: str) -> None:
        """Let go of an array that the layer may have and has no use for."""
        ...

    def part(self, *names: str) -> Weights:
        """Those of a part of the layer, by the names that it may have there (`forward_layer`)."""
        ...

    def layer(self, described: Described) -> Weights:
        """Those of a layer of a model; to be asked in the order of the model's layers."""
        ...

    def left(self) -> list[str]:
        """The names of arrays that nobody has taken."""
        ...


def weights_of(value: Mapping[str, Any]) -> Weights:
    """The arrays of a file as `files` has read them, for its model.

    Raises:
        Failed: not as `files` gives them.
    """
    arrays, order = value.get("arrays"), value.get("order")
    if not isinstance(arrays, Mapping) or not isinstance(order, Mapping):
        raise broken("the file has no arrays")
    if not all(isinstance(array, Tensor) for array in arrays.values()):
        raise broken("the file has arrays that are none")
    if value.get("layout") == "paths":
        return _Paths(_Shelf(dict(arrays)), "")
    return _Lists({str(name): [(path, arrays[path]) for path in paths] for name, paths in order.items()})


def snake(kind: str) -> str:
    """A class's name as Keras 3 files its layers.

    Example:
        >>> snake("GlobalAveragePooling2D"), snake("ReLU"), snake("Conv2D")
        ('global_average_pooling2d', 're_lu', 'conv2d')
    """
    kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


def _checked(array: Tensor, name: str, shape: Shape | None) -> Tensor:
    said = clean_text(name)
    fits = shape is None or (
        len(shape) == array.dim()
        and all(want in (None, has) for want, has in zip(shape, array.shape, strict=True))
    )
    if not fits:
        expected = "x".join("?" if each is None else str(each) for each in shape or ())
        raise Failed(
            f"{said} has the shape {tuple(array.shape)}, expected {expected or 'one number'}: {KERAS_AGAIN}"
        )
    array = array.to(torch.float32, copy=True)  # else it would keep all bytes of its file
    # isfinite of all of them would take as much memory again; the extremes are NaN where anything is.
    if array.numel() and not all(bool(torch.isfinite(each)) for each in array.aminmax()):
        raise Failed(f"{said} has numbers that are NaN or infinite: {KERAS_AGAIN}")
    return array


@dataclass
class _Shelf:
    """Arrays by path, and which were taken."""

    arrays: dict[str, Tensor]
    taken: set[str] = field(default_factory=set[str])

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every path that something lies below, with a slash at its end."""
        return frozenset(
            path[: place + 1] for path in self.arrays for place, sign in enumerate(path) if sign == "/"
        )


class _Paths:
    """As Keras 3 files them; `where` is the path of the layer with a slash at its end."""

    def __init__(self, shelf: _Shelf, where: str) -> None:
        self.shelf, self.where = shelf, where
        self.next = 0
        self.met: dict[str, int] = {}

    def take(self, name: str, shape: Shape | None = None) -> Tensor:
        path = f"{self.where}vars/{self.next}"
        if path not in self.shelf.arrays:
            raise Failed(
                f"the file has no {clean_text(name)} at {clean_text(path)}: it was cut short or made up; "
                f"{KERAS_AGAIN}"
            )
        self.next += 1
        self.shelf.taken.add(path)
        return _checked(self.shelf.arrays[path], f"{name} at {path}", shape)

    def optional(self, name: str) -> None:
        self.shelf.taken.add(f"{self.where}vars/{self.next}")
        self.next += 1

    def part(self, *names: str) -> Weights:
        there = [name for name in names if self._has(f"{self.where}{name}/")]
        return _Paths(self.shelf, f"{self.where}{(there or names)[0]}/")

    def layer(self, described: Described) -> Weights:
        name = snake(described.kind if described.kind != "Model" else "Functional")
        number = self.met.get(name, 0)
        self.met[name] = number + 1
        at = f"{name}_{number}" if number else name
        inside = "layers/" if self.where else ""
        if inside and not self._has(f"{self.where}layers/"):
            inside = "_layer_checkpoint_dependencies/"
        return _Paths(self.shelf, f"{self.where}{inside}{at}/")

    def left(self) -> list[str]:
        if self.where:  # all are looked through once, from the top
            return []
        return [path for path in self.shelf.arrays if path not in self.shelf.taken and not IDLE.search(path)]

    def _has(self, folder: str) -> bool:
        return folder in self.shelf.folders


class _Lists:
    """As older files have them: (path, array) by layer, those that are left; of a layer's, the ones whose
    paths go through all of `through`.
    """

    def __init__(
        self, lists: dict[str, list[tuple[str, Tensor]]], here: str | None = None, through: Sequence[str] = ()
    ) -> None:
        self.lists, self.here, self.through = lists, here, tuple(through)

    def take(self, name: str, shape: Shape | None = None) -> Tensor:
        entries = self._entries()
        fitting = [entry for wanted in (name, NAMELESS) for entry in entries if _leaf(entry[0]) == wanted]
        found = fitting[0] if fitting else None
        if found is None:
            said = listed((clean_text(path) for path, _ in entries), 5) or "nothing"
            raise Failed(
                f"the file has no {clean_text(name)} of {clean_text(self.here)}; it has {said}; {KERAS_AGAIN}"
            )
        self._drop(found)
        return _checked(found[1], found[0], shape)

    def optional(self, name: str) -> None:
        for entry in self._entries():
            if _leaf(entry[0]) == name:
                self._drop(entry)
                return

    def part(self, *names: str) -> Weights:
        there = [name for name in names if any(name in _folders(path) for path, _ in self._entries())]
        return _Lists(self.lists, self.here, (*self.through, *there[:1]))

    def layer(self, described: Described) -> Weights:
        if self.here is None:
            self.lists.setdefault(described.name, [])
            return _Lists(self.lists, described.name)
        return self.part(described.name)

    def left(self) -> list[str]:
        lists = self.lists.values() if self.here is None else (self._entries(),)
        return [path for entries in lists for path, _ in entries if not IDLE.search(path)]

    def _entries(self) -> list[tuple[str, Tensor]]:
        entries = self.lists[self.here or ""]
        return [entry for entry in entries if all(name in _folders(entry[0]) for name in self.through)]

    def _drop(self, entry: tuple[str, Tensor]) -> None:
        entries = self.lists[self.here or ""]
        entries[:] = [other for other in entries if other is not entry]


def _leaf(path: str) -> str:
    """The name of a weight at the end of its path: `kernel` of `conv/kernel:0` and `conv/kernel_1`."""
    return re.sub(r"(:\d+|_\d+)+$", "", path.rpartition("/")[2])


def _folders(path: str) -> list[str]:
    return path.split("/")[:-1]
