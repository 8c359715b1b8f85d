"""Arithmetic, comparisons and logic, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import Node, Sizes, listing

Function = Callable[..., Tensor]


def of_one(function: Callable[[Tensor], Tensor]) -> Function:
    """An operator of one tensor."""

    def run(node: Node, x: Tensor) -> Tensor:
        node.ignore("consumed_inputs")  # of version 1
        return function(x)

    return run


def of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """An operator of two tensors that broadcast, as NumPy has it or as ONNX had it before version 7."""

    def run(node: Node, a: Tensor, b: Tensor) -> Tensor:
        node.ignore("consumed_inputs")
        if node.opset < 7:
            b = _aligned(node, a, b)
        return function(a, b)

    return run


def of_all(function: Callable[[Tensor, Tensor], Tensor], mean: bool = False) -> Function:
    """An operator of any number of tensors."""

    def run(node: Node, first: Tensor, *others: Tensor) -> Tensor:
        node.ignore("consumed_inputs")
        found = reduce(function, others, first)
        return found / (1 + len(others)) if mean else found

    return run


def _aligned(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """`b` so that it broadcasts to `a`: its axes begin at `axis`."""
    broadcast = node.flag("broadcast")
    start = node.integer("axis", a.dim() - b.dim(), -a.dim(), a.dim())
    if not broadcast or b.dim() == a.dim():
        return b
    start = start + a.dim() if start < 0 else start
    after = a.dim() - start - b.dim()
    if after < 0:
        raise node.failed(f"shape {tuple(b.shape)} from axis {start} on does not fit {tuple(a.shape)}")
    return b.reshape([*b.shape, *[1] * after])


def divided(a: Tensor, b: Tensor) -> Tensor:
    """A / b; towards zero for whole numbers."""
    if a.dtype.is_floating_point or b.dtype.is_floating_point:
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def power(node: Node, base: Tensor, exponent: Tensor) -> Tensor:
    """Base ** exponent, of the base's kind of number."""
    node.ignore("broadcast", "axis")
    return torch.pow(base, _aligned(node, base, exponent) if node.opset < 7 else exponent).to(base.dtype)


def power_of(node: Node, base: Tensor, exponent: Sizes) -> Tensor:
    """Base ** exponent for one number, whose gradient exists for negative bases, too."""
    node.ignore("broadcast", "axis")
    number = float(exponent.flatten()[0])
    found = torch.pow(base, int(number) if number.is_integer() else number).to(base.dtype)
    more = exponent.ndim - base.dim()
    return found.reshape(*[1] * more, *found.shape) if more > 0 else found


def modulo(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """The rest of a division, with the divisor's sign or (fmod) the dividend's."""
    return torch.fmod(a, b) if node.flag("fmod") else torch.remainder(a, b)


def infinite(node: Node, x: Tensor) -> Tensor:
    """Where numbers are infinite."""
    up, down = node.flag("detect_positive", True), node.flag("detect_negative", True)
    return (up & (x == math.inf)) | (down & (x == -math.inf))


def where(node: Node, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where the condition holds, else `b`."""
    return torch.where(condition.bool(), a, b)


def clip(node: Node, x: Tensor, low: Sizes | None = None, high: Sizes | None = None) -> Tensor:
    """X within bounds, which were attributes before version 11; a ReLU where the lower one is 0."""
    node.ignore("consumed_inputs")
    least: Any = None if low is None or not low.size else listing(low)[0]
    most: Any = None if high is None or not high.size else listing(high)[0]
    if node.opset < 11:
        least = node.number("min", -3.4028234663852886e38) if node.has("min") else None
        most = node.number("max", 3.4028234663852886e38) if node.has("max") else None
    if not x.dtype.is_floating_point:
        return x if least is None and most is None else torch.clamp(x, least, most)
    least = None if least is None or least < -3.4e38 else float(least)
    most = None if most is None or most > 3.4e38 else float(most)
    if least is None and most is None:
        return x
    if least == 0 and most is None:
        return F.relu(x)
    if least is not None and most is not None and 0 <= least <= most:
        return F.hardtanh(x, least, most)
    return torch.clamp(x, least, most)
