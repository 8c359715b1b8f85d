"""What a row of the table of layers gets: a layer's settings, its weights, and how to make layers in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.formats.keras.settings import Settings
from mmbd.formats.keras.weights import Weights


@dataclass(frozen=True)
class Making:
    """Everything that a layer is made of.

    Args:
        settings: of the layer.
        weights: its own, to be taken in Keras' order.
        inner: makes the layer that an entry within these settings describes, with these weights.
        calls: the arguments by name of its first call, for those that change what it computes.
        bare: leave out the activation function at its end, which the network's logits do not have.
    """

    settings: Settings
    weights: Weights
    inner: Callable[[Any, Weights], nn.Module]
    calls: dict[str, Any]
    bare: bool = False


MOST_NUMBERS = 1 << 26  # made of one input by one layer
Row = Callable[[Making], nn.Module]


def limited(count: int, what: str) -> None:
    """Failed where a layer would make more numbers of one input than fit: before it makes them."""
    if count > MOST_NUMBERS:
        raise Failed(f"{what} would make {count:,} numbers of its inputs: not loaded")


def spread(*tensors: Tensor) -> None:
    """Failed where tensors would be spread over each other to more numbers than fit."""
    limited(prod(torch.broadcast_shapes(*(each.shape for each in tensors))[1:]), "a layer")
