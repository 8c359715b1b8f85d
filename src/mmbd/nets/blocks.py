"""Pieces that several networks share."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    """A fresh activation module; ValueError for a name that is not in ACTIVATIONS."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def norm(name: str, channels: int) -> nn.Module:
    """A normalisation over `channels`: "batch", "group" (at most 32 groups) or "none"."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    if name == "none":
        return nn.Identity()
    raise ValueError(f"unknown normalisation {name!r}; known: batch, group, none")


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`input_shape` as (channels, height, width); ValueError when it is not an image's."""
    if len(input_shape) != 3:
        raise ValueError(f"expected an image shape (channels, height, width), got {input_shape}")
    channels, height, width = input_shape
    return channels, height, width


def cloud_shape(input_shape: tuple[int, ...]) -> int:
    """The number of points in `input_shape`; ValueError when it is not a point cloud's."""
    if len(input_shape) != 2 or input_shape[0] != 3:
        raise ValueError(f"expected a point-cloud shape (3, points), got {input_shape}")
    return input_shape[1]
