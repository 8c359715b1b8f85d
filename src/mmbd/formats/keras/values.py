"""What flows between layers, and what a layer is.

Keras has the channels last, torch computes with them first. A tensor with places (three axes or more)
goes on with its channels moved to axis 1 for as long as layers can take it so; it is moved back only
for one whose result depends on the order, such as `Flatten`. So convolutions, norms and activations
follow each other as in a network of torch, and everything that watches those sees them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

Layout = Literal["moved", "kept", "any"]


@dataclass(frozen=True)
class Value:
    """A tensor between two layers; `moved` where its last axis in Keras is axis 1 here."""

    tensor: Tensor
    moved: bool = False

    def arranged(self, moved: bool) -> Tensor:
        """The tensor with the channels moved to axis 1, or as Keras has it."""
        if self.tensor.dim() < 3 or moved == self.moved:
            return self.tensor
        return self.tensor.movedim(-1, 1) if moved else self.tensor.movedim(1, -1)


def place(axis: int, rank: int, moved: bool) -> int:
    """Where an axis as Keras counts it is in a tensor of that rank; IndexError where it has none such."""
    if not -rank <= axis < rank:
        raise IndexError(f"axis {axis} of a tensor with {rank} axes")
    axis %= rank
    if not moved or axis == 0:
        return axis
    return 1 if axis == rank - 1 else axis + 1


class Layer(nn.Module):
    """One layer: a function of tensors, with the weights that it gets by name.

    Args:
        run: called with the inputs, `moved` if `layout` is "any", and the weights and buffers by name.
        layout: how the inputs come: with their channels moved to axis 1, as Keras has them, or as they
            happen to be, all in one way.
        weights, buffers: by name; None for those that the layer does without.
        channels: how many the output has, where that is known.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        layout: Layout = "any",
        weights: Mapping[str, Tensor | None] | None = None,
        buffers: Mapping[str, Tensor | None] | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.run, self.layout = run, layout
        self.names = (*(weights or {}), *(buffers or {}))
        for name, tensor in (weights or {}).items():
            self.register_parameter(name, None if tensor is None else nn.Parameter(tensor))
        for name, tensor in (buffers or {}).items():
            self.register_buffer(name, tensor)
        if channels is not None:
            self.out_channels = channels

    def forward(self, *inputs: Tensor, moved: bool = False) -> Any:
        """The outputs, arranged as the inputs are."""
        more: dict[str, Any] = {name: getattr(self, name) for name in self.names}
        if self.layout == "any":
            more["moved"] = moved
        return self.run(*inputs, **more)


def applied(layer: nn.Module, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Run a layer on values; its outputs as values."""
    layout: Layout = getattr(layer, "layout", "any")
    if layout == "any":
        ranks = {value.tensor.dim() for value in values}
        moved = len(ranks) == 1 and any(value.moved for value in values)
    else:
        moved = layout == "moved"
    output = layer(*(value.arranged(moved) for value in values), moved=moved)
    outputs = output if isinstance(output, tuple) else (output,)
    return tuple(Value(each, moved and each.dim() > 2) for each in outputs)
