"""Pooling: over windows, and over all places."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.convolution import CONVOLUTIONS
from mmbd.formats.onnx.node import Node
from mmbd.formats.onnx.windows import Windows, windows

MAXIMA: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEANS: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _windows(node: Node, x: Tensor) -> Windows:
    lengths = node.integers("kernel_shape", None, 1)
    if lengths is None or not 3 <= x.dim() <= 5:
        raise node.failed(f"windows of {lengths} for an input of shape {tuple(x.shape)}")
    return windows(node, x, lengths, node.flag("ceil_mode"), pooling=True)


def max_pool(node: Node, x: Tensor) -> Tensor:
    """The largest element of every window."""
    node.only(1)
    node.ignore("storage_order")  # of the indices, which nobody asks for
    found = _windows(node, x)
    half = all(2 * pad <= length for pad, length in zip(found.before, found.lengths, strict=True))
    padding: Any = 0
    if found.symmetric and half:
        padding = found.before
    else:
        x = found.padded(x, -torch.inf)
    return MAXIMA[x.dim() - 2](x, found.lengths, found.strides, padding, found.dilations)


def average_pool(node: Node, x: Tensor) -> Tensor:
    """The mean of every window, with or without the border."""
    count_all = node.flag("count_include_pad")
    pads = node.integers("pads") or [0] * 2 * (x.dim() - 2)
    found = _windows(node, x)
    dims = x.dim() - 2
    half = all(2 * pad <= length for pad, length in zip(found.before, found.lengths, strict=True))
    explicit = [*found.before, *found.after] == pads or not count_all
    if found.symmetric and half and explicit and max(found.dilations) == 1:
        return MEANS[dims](x, found.lengths, found.strides, found.before, False, count_all)
    seen = torch.ones_like(x[:1, :1])
    if count_all and node.text("auto_pad", "NOTSET", "NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER") in (
        "NOTSET",
        "",
    ):
        pairs = list(zip(pads[:dims], pads[dims:], strict=True))
        seen = F.pad(seen, [each for pair in reversed(pairs) for each in pair], value=1.0)
        more = [a + b - sum(pair) for a, b, pair in zip(found.before, found.after, pairs, strict=True)]
        seen = F.pad(seen, [each for extra in reversed(more) for each in (0, extra)])
    else:
        seen = found.padded(seen, float(count_all))
    return _sums(found, found.padded(x)) / _sums(found, seen)


def lp_pool(node: Node, x: Tensor) -> Tensor:
    """The p-norm of every window."""
    p = node.number("p", 2.0) if node.opset < 2 else float(node.integer("p", 2, 1, 64))
    found = _windows(node, x)
    sums = _sums(found, found.padded(x.abs().pow(p)))
    return sums.clamp_min(0).pow(1 / p)


def _sums(found: Windows, x: Tensor) -> Tensor:
    """Sums over windows of what has its border already."""
    rows = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones(1, 1, *found.lengths, dtype=x.dtype, device=x.device)
    sums = CONVOLUTIONS[x.dim() - 2](rows, ones, None, found.strides, 0, found.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def global_average_pool(node: Node, x: Tensor) -> Tensor:
    """The mean over all places."""
    return x.mean(tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else x


def global_max_pool(node: Node, x: Tensor) -> Tensor:
    """The largest over all places."""
    return x.amax(tuple(range(2, x.dim())), keepdim=True) if x.dim() > 2 else x


def global_lp_pool(node: Node, x: Tensor) -> Tensor:
    """The p-norm over all places."""
    p = node.number("p", 2.0) if node.opset < 2 else float(node.integer("p", 2, 1, 64))
    return torch.linalg.vector_norm(x, p, tuple(range(2, x.dim())), keepdim=True)
