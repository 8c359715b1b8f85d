"""Pooling over windows and over all places."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.convolution import layout
from mmbd.formats.keras.layers.making import Making, Row
from mmbd.formats.keras.layers.padding import around, padded
from mmbd.formats.keras.values import Layer

MOST_WORK = 1 << 33  # numbers looked at for one input
LARGEST: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
MEAN: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def _pooled(x: Tensor, sizes: tuple[int, ...], steps: tuple[int, ...], padding: str, kind: str) -> Tensor:
    dims = len(sizes)
    pads = around(x, sizes, steps, (1,) * dims, padding)
    lengths = [length + sum(pad) for length, pad in zip(x.shape[2:], pads, strict=True)]
    if any(size > length for size, length in zip(sizes, lengths, strict=True)):
        raise Failed(f"a pooling layer has windows of {sizes} and gets {tuple(x.shape[2:])}")
    results = prod(
        (length - size) // step + 1 for length, size, step in zip(lengths, sizes, steps, strict=True)
    )
    if x.shape[1] * results * prod(sizes) > MOST_WORK:
        raise Failed(f"a pooling layer with windows of {sizes} would take minutes: not loaded")
    if kind == "max":
        return LARGEST[dims](padded(x, pads, float("-inf")), sizes, steps)
    mean = MEAN[dims](padded(x, pads), sizes, steps)
    if any(map(any, pads)):  # what was put around does not count
        mean = mean / MEAN[dims](padded(torch.ones_like(x[:1, :1]), pads), sizes, steps)
    return mean


def pooling(making: Making, dims: int, kind: str) -> nn.Module:
    """`MaxPooling` and `AveragePooling` over windows."""
    settings = making.settings
    sizes = settings.sizes("pool_size", dims, 2)
    steps = settings.sizes("strides", dims) if settings.has("strides") else sizes
    padding = settings.word("padding", ("valid", "same"), "valid")
    return Layer(partial(_pooled, sizes=sizes, steps=steps, padding=padding, kind=kind), layout(settings))


def _all(x: Tensor, kind: str, keep: bool) -> Tensor:
    places = tuple(range(2, x.dim()))
    return x.amax(places, keepdim=keep) if kind == "max" else x.mean(places, keepdim=keep)


def global_pooling(making: Making, dims: int, kind: str) -> nn.Module:
    """`GlobalMaxPooling` and `GlobalAveragePooling` over all places."""
    keep = making.settings.flag("keepdims", False)
    return Layer(partial(_all, kind=kind, keep=keep), layout(making.settings))


ROWS: dict[str, Row] = {
    f"{name}{word}{dims}D": partial(make, dims=dims, kind=kind)
    for name, make in (("", pooling), ("Global", global_pooling))
    for kind, words in (("max", ("MaxPooling", "MaxPool")), ("mean", ("AveragePooling", "AvgPool")))
    for word in words
    for dims in (1, 2, 3)
}
