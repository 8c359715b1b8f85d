"""The shape of tensors, and what only rearranges their elements."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node, Sizes, listing, sizes


def shape(node: Node, x: Tensor) -> Sizes:
    """The lengths of the axes from `start` to `end`."""
    start = node.integer("start", 0)
    end = node.integer("end", x.dim()) if node.has("end") else x.dim()
    return sizes(list(x.shape)[start:end])


def size(node: Node, x: Tensor) -> Sizes:
    """How many elements there are."""
    return sizes(math.prod(x.shape))


def reshape(node: Node, x: Tensor, lengths: Sizes | None = None) -> Tensor:
    """The same elements in other lengths: 0 keeps the input's, -1 is what is left."""
    node.ignore("consumed_inputs")
    wanted: list[Any] | None = node.integers("shape") if node.opset < 5 else None
    keep = not node.flag("allowzero")
    if wanted is None:
        if lengths is None:
            raise node.failed("it has no shape")
        wanted = listing(lengths)
    for place, length in enumerate(wanted):
        if isinstance(length, int) and not -1 <= length < HUGE:
            raise node.failed(f"shape {wanted} has a length of {length}")
        if isinstance(length, int) and length == 0 and keep:
            if place >= x.dim():
                raise node.failed(f"shape {wanted} keeps axis {place} of a tensor with {x.dim()}")
            wanted[place] = x.shape[place]
    return x.reshape(wanted)


def flatten(node: Node, x: Tensor) -> Tensor:
    """A matrix: the axes before `axis`, and those from there on."""
    axis = node.integer("axis", 1, -x.dim(), x.dim())
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1 and x.dim() > 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(node: Node, x: Tensor, axes: Sizes | None = None) -> Tensor:
    """Without axes of length 1: those named, or all of them."""
    given = node.integers("axes") if node.opset < 13 else axes
    named = node.axes(given, x.dim())
    if named is None:
        return x.squeeze()
    if any(x.shape[axis] != 1 for axis in named):
        raise node.failed(f"axes {named} of shape {tuple(x.shape)} are not all of length 1")
    return x.squeeze(tuple(named))


def unsqueeze(node: Node, x: Tensor, axes: Sizes | None = None) -> Tensor:
    """With further axes of length 1, at these places of the result."""
    given = node.integers("axes") if node.opset < 13 else axes
    count = 0 if given is None else len(listing(sizes(given)) if isinstance(given, list) else listing(given))
    named = node.axes(given, x.dim() + count)
    if not named:
        raise node.failed("it has no axes")
    for axis in sorted(named):
        x = x.unsqueeze(axis)
    return x


def transpose(node: Node, x: Tensor) -> Tensor:
    """Axes in another order; backwards by default."""
    order = node.integers("perm", list(reversed(range(x.dim()))), 0, x.dim())
    if sorted(order or []) != list(range(x.dim())):
        raise node.failed(f"perm {order} is no order of {x.dim()} axes")
    return x.permute(order or ())


def expand(node: Node, x: Tensor, lengths: Sizes) -> Tensor:
    """Repeated along axes of length 1, both ways, as in arithmetic."""
    wanted = listing(lengths)
    if len(wanted) < x.dim():
        wanted = [1] * (x.dim() - len(wanted)) + wanted
    own = [1] * (len(wanted) - x.dim()) + list(x.shape)
    known = [isinstance(length, int) and length == 1 for length in wanted]
    return x.expand([mine if one else length for mine, length, one in zip(own, wanted, known, strict=True)])


def tile(node: Node, x: Tensor, repeats: Sizes, axis: Sizes | None = None) -> Tensor:
    """Repeated so many times along every axis (before version 6: along one)."""
    times = listing(repeats)
    if node.opset < 6:
        if axis is None:
            raise node.failed("it has no axis")
        along = node.axis(listing(axis)[0], x.dim())
        times = [int(times[0]) if each == along else 1 for each in range(x.dim())]
    if len(times) != x.dim() or any(isinstance(each, int) and each < 0 for each in times):
        raise node.failed(f"repeats {times} for a tensor with {x.dim()} axes")
    return x.repeat(times)


def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """Channels into blocks of places."""
    block = node.integer("blocksize", 0, 1)
    mode = node.text("mode", "DCR", "DCR", "CRD")
    n, c, h, w = x.shape
    if c % (block * block):
        raise node.failed(f"{c} channels are no multiple of {block} x {block}")
    if mode == "DCR":
        parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // block**2, h * block, w * block)


def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """Blocks of places into channels."""
    block = node.integer("blocksize", 0, 1)
    node.text("mode", "DCR", "DCR")
    n, c, h, w = x.shape
    if h % block or w % block:
        raise node.failed(f"{h} x {w} places are no multiple of {block}")
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


def identity(node: Node, x: Tensor) -> Tensor:
    """What it is given."""
    return x


def dropout(node: Node, x: Tensor, ratio: Sizes | None = None, training: Sizes | None = None) -> Any:
    """What it is given: nothing is dropped when a network is used."""
    node.ignore("ratio", "seed", "consumed_inputs")
    if training is not None and any(listing(training)):
        raise node.failed("it drops at random (training_mode): export the network in eval mode")
    if node.opset < 7 and node.has("is_test") and not node.flag("is_test"):
        raise node.failed("it drops at random (is_test is 0): export the network in eval mode")
    mask = torch.ones_like(x, dtype=torch.bool) if len(node.outputs) > 1 and node.outputs[1] else None
    return x if mask is None else (x, mask)


def rows(node: Node, one: Tensor, like: Tensor) -> Tensor:
    """A constant for one input, once for each of the inputs in another tensor."""
    return one.expand(like.shape[0], *one.shape[1:])
