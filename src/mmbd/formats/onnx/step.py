"""One node as a module: from the values that it names to its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbd.formats.onnx.lengths import LENGTHS, MOST
from mmbd.formats.onnx.node import Node, Sizes, Value, listing
from mmbd.formats.onnx.operators import operator


class Step(nn.Module):
    """A node of a graph.

    Args:
        node: what it computes.
        fixed: those of its inputs that are constants of few numbers, by their place.
    """

    def __init__(self, node: Node, fixed: dict[int, Sizes]) -> None:
        super().__init__()
        row = operator(node.op)
        self.node, self.fixed = node, fixed
        self.sizes, self.run = frozenset(row.sizes), row.run
        if row.one is not None and row.one[0] in fixed and fixed[row.one[0]].size == 1:
            self.sizes, self.run = self.sizes | {row.one[0]}, row.one[1]

    def arguments(self, given: Sequence[Value | None]) -> list[Value | None]:
        """The inputs as the operator takes them: sizes as Python's numbers, all others as tensors."""
        if not self.sizes and len(given) == 1 and isinstance(given[0], Tensor):
            return [given[0]]
        found: list[Value | None] = []
        for place, value in enumerate(given):
            if value is None:
                found.append(None)
            elif place in self.sizes:
                known = self.fixed.get(place)
                found.append(known if known is not None else as_sizes(value))
            else:
                found.append(value if isinstance(value, Tensor) else as_tensor(value))
        tensors = [value for value in found if isinstance(value, Tensor)]
        devices = {value.device for value in tensors}
        if len(devices) > 1:  # what is made of sizes alone is on the CPU
            device = next(each for each in devices if each.type != "cpu")
            found = [value.to(device) if isinstance(value, Tensor) else value for value in found]
        return found

    def forward(self, *given: Value | None) -> Any:
        """The node's output, or outputs."""
        if self.node.op in LENGTHS and any(isinstance(value, np.ndarray) for value in given):
            known = [
                value if isinstance(value, np.ndarray) else self._known(place, value)
                for place, value in enumerate(given)
            ]
            if all(one is not None or value is None for one, value in zip(known, given, strict=True)):
                try:
                    return LENGTHS[self.node.op](self.node, *known)
                except NotImplementedError:
                    pass
        return self.run(self.node, *self.arguments(given))

    def _known(self, place: int, value: Value | None) -> Sizes | None:
        known = self.fixed.get(place)
        whole = isinstance(value, Tensor) and not value.dtype.is_floating_point
        return known if known is not None and known.size <= MOST and whole else None


def as_sizes(value: Value) -> Sizes:
    """A tensor's numbers as Python's."""
    if not isinstance(value, Tensor):
        return value
    found = np.empty(tuple(value.shape), dtype=object)
    numbers: Any = value.detach().flatten().tolist()
    found.reshape(-1)[:] = numbers
    return found


def as_tensor(value: Sizes) -> Tensor:
    """Python's numbers as a tensor, on the CPU."""
    numbers: list[Any] = listing(value)
    truth = bool(numbers) and all(isinstance(each, bool) for each in numbers)
    return torch.tensor(numbers, dtype=torch.bool if truth else torch.int64).reshape(value.shape)
