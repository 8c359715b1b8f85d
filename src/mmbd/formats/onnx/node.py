"""One operator in a graph: its names and its attributes, which whoever wrote the file chose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text

# What small whole numbers are while a graph is computed: shapes, axes, indices. Of Python's numbers, not
# tensors, so that nothing waits for a device, and torch.export can follow them.
Sizes = np.ndarray[Any, Any]
Value = Tensor | Sizes
HUGE = 1 << 31  # no length, pad, stride or axis is so large


class Impossible(Failed):
    """An operator cannot be computed, which its words name; what to do is said by whoever asked for it."""


@dataclass(frozen=True)
class Scalar:
    """A tensor of one number."""

    number: Any
    dtype: torch.dtype


@dataclass(frozen=True)
class Node:
    """An operator, its version and its attributes.

    `asked` are the attributes that were looked at: one that nobody looks at would change the answer
    without being heard.
    """

    name: str
    op: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    asked: set[str] = field(default_factory=set[str])

    def __str__(self) -> str:
        return f"{self.op} {clean_text(self.name, 60)!r}" if self.name else self.op

    def failed(self, what: str) -> Failed:
        """The error for something in this node that cannot be."""
        return Impossible(f"{self}: {what}")

    def has(self, name: str) -> bool:
        """Whether the attribute is given."""
        self.asked.add(name)
        return name in self.attributes

    def ignore(self, *names: str) -> None:
        """Attributes that change nothing when a network is only used."""
        self.asked.update(names)

    def integer(self, name: str, default: int, low: int = -HUGE, high: int = HUGE) -> int:
        """A whole number from `low` to `high`."""
        return self._within(name, self._typed(name, default, int), low, high)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value, written as 0 or 1."""
        return bool(self.integer(name, int(default), 0, 1))

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = float(self._typed(name, default, (int, float)))
        if not math.isfinite(value):
            raise self.failed(f"{name} is {value}, expected a finite number")
        return value

    def text(self, name: str, default: str, *allowed: str) -> str:
        """One of the words that are allowed."""
        value = self._typed(name, default, str)
        if value not in allowed:
            raise self.failed(f"{name} is {clean_text(value, 40)!r}, expected one of {', '.join(allowed)}")
        return value

    def integers(
        self,
        name: str,
        default: list[int] | None = None,
        low: int = -HUGE,
        high: int = HUGE,
        count: int | None = None,
    ) -> list[int] | None:
        """Whole numbers from `low` to `high`, `count` of them if that is given."""
        value = self._typed(name, default, list)
        if value is None:
            return None
        if count is not None and len(value) != count:
            raise self.failed(f"{name} has {len(value)} numbers, expected {count}")
        for each in value:
            if type(each) is not int:
                raise self.failed(f"{name} holds {type(each).__name__}, expected whole numbers")
            self._within(name, each, low, high)
        return list(value)

    def numbers(self, name: str) -> list[float] | None:
        """Finite numbers."""
        value = self._typed(name, None, list)
        if value is None:
            return None
        if not all(isinstance(each, int | float) and math.isfinite(each) for each in value):
            raise self.failed(f"{name} holds something else than finite numbers")
        return [float(each) for each in value]

    def texts(self, name: str) -> list[str] | None:
        """Texts."""
        value = self._typed(name, None, list)
        if value is not None and not all(isinstance(each, str) for each in value):
            raise self.failed(f"{name} holds something else than texts")
        return value

    def scalar(self, name: str) -> Scalar | None:
        """A tensor of one number, as Python's."""
        return self._typed(name, None, Scalar)

    def _typed(self, name: str, default: Any, kind: Any) -> Any:
        self.asked.add(name)
        value = self.attributes.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, kind):
            raise self.failed(f"{name} is of another kind ({type(value).__name__}) than ONNX has it")
        return value

    def _within(self, name: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            raise self.failed(f"{name} is {value}, expected {low} to {high}")
        return value

    def axis(self, value: Any, dims: int) -> int:
        """An axis of a tensor with `dims` of them, counted from 0."""
        if not -dims <= value < dims:
            raise self.failed(f"axis {value} of a tensor with {dims} axes")
        return int(value) % dims

    def axes(self, given: Sizes | list[int] | None, dims: int) -> list[int] | None:
        """Several different axes of a tensor with `dims` of them; None where none are given."""
        if given is None:
            return None
        found = [self.axis(value, dims) for value in np.asarray(given, dtype=object).flatten().tolist()]
        if len(set(found)) < len(found):
            raise self.failed(f"axes {found} are not different")
        return found

    def only(self, count: int) -> None:
        """Failed where more outputs are used than the first `count`."""
        if any(self.outputs[count:]):
            raise self.failed(f"its output {count + 1} is used, which mmbd does not compute")


def listing(values: Sizes) -> list[Any]:
    """The numbers of `Sizes`, in order."""
    return values.flatten().tolist()


def sizes(values: Any) -> Sizes:
    """Python's whole numbers, or a list of them, as `Sizes`."""
    found = np.empty(len(values) if isinstance(values, list | tuple) else (), dtype=object)
    found[...] = values
    return found
