"""One number of many: sums, means and the like along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmbd.formats.onnx.node import Node, Sizes

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def reduction(function: Reduction, since: int) -> Callable[..., Tensor]:
    """An operator that reduces axes; they are an input from version `since` on, an attribute before."""

    def run(node: Node, x: Tensor, axes: Sizes | None = None) -> Tensor:
        keep, nothing = node.flag("keepdims", True), node.flag("noop_with_empty_axes")
        given: Any = node.integers("axes") if node.opset < since else axes
        named = node.axes(given, x.dim())
        if not named:
            if nothing:
                return function(x.unsqueeze(0), [0], False)
            named = list(range(x.dim()))
        if not named:  # one number
            return function(x.unsqueeze(0), [0], False)
        return function(x, named, keep)

    return run


def total(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The sum."""
    return x.sum(axes, keepdim=keep).to(x.dtype)


def mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The mean; of whole numbers, towards zero."""
    if x.dtype.is_floating_point:
        return x.mean(axes, keepdim=keep)
    return x.double().mean(axes, keepdim=keep).trunc().to(x.dtype)


def largest(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The largest."""
    return x.amax(axes, keepdim=keep)


def smallest(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The smallest."""
    return x.amin(axes, keepdim=keep)


def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The product."""
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep).to(x.dtype)
    return x


def l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The sum of absolute values."""
    return total(x.abs(), axes, keep)


def l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The root of the sum of squares."""
    if x.dtype.is_floating_point:
        return torch.linalg.vector_norm(x, 2, axes, keepdim=keep)
    return x.double().square().sum(axes, keepdim=keep).sqrt().to(x.dtype)


def log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The logarithm of the sum."""
    return x.sum(axes, keepdim=keep).log()


def log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The logarithm of the sum of exponentials."""
    return torch.logsumexp(x, axes, keepdim=keep)


def sum_square(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The sum of squares."""
    return total(x.square(), axes, keep)


def arg(largest: bool) -> Callable[..., Tensor]:
    """Where the largest or the smallest element is along an axis: the first, or the last."""

    def run(node: Node, x: Tensor) -> Tensor:
        axis, keep = node.axis(node.integer("axis", 0), x.dim()), node.flag("keepdims", True)
        last = node.flag("select_last_index")
        of = x.flip(axis) if last else x
        found = of.argmax(axis, keepdim=keep) if largest else of.argmin(axis, keepdim=keep)
        return x.shape[axis] - 1 - found if last else found

    return run
