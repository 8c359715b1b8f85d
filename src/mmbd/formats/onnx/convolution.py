"""Convolutions and their transposes, along one to three axes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node
from mmbd.formats.onnx.windows import windows

CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution (n, channels, *places) -> (n, filters, *places)."""
    dims = _dims(node, x, weight)
    groups = node.integer("group", 1, 1)
    lengths = list(weight.shape[2:])
    if (node.integers("kernel_shape") or lengths) != lengths:
        raise node.failed(f"kernel_shape differs from its weights' {lengths}")
    if weight.shape[0] % groups or x.shape[1] != weight.shape[1] * groups:
        raise node.failed(
            f"weights of shape {tuple(weight.shape)} in {groups} groups for {x.shape[1]} channels"
        )
    found = windows(node, x, lengths)
    if found.symmetric:
        padding: Any = found.before
    else:
        x, padding = found.padded(x), 0
    return CONVOLUTIONS[dims](x, weight, bias, found.strides, padding, found.dilations, groups)


def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The transpose of a convolution; what its pads cut off is cut off after it."""
    dims = _dims(node, x, weight)
    groups = node.integer("group", 1, 1)
    lengths = list(weight.shape[2:])
    if (node.integers("kernel_shape") or lengths) != lengths:
        raise node.failed(f"kernel_shape differs from its weights' {lengths}")
    if x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise node.failed(
            f"weights of shape {tuple(weight.shape)} in {groups} groups for {x.shape[1]} channels"
        )
    strides = node.integers("strides", None, 1, 4096, dims) or [1] * dims
    dilations = node.integers("dilations", None, 1, HUGE, dims) or [1] * dims
    pads = node.integers("pads", None, 0, HUGE, 2 * dims) or [0] * 2 * dims
    extra = node.integers("output_padding", None, 0, 4096, dims) or [0] * dims
    wanted = node.integers("output_shape", None, 1, HUGE)
    auto = node.text("auto_pad", "NOTSET", "NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER")
    before, after = pads[:dims], pads[dims:]
    if auto == "VALID":
        before, after = [0] * dims, [0] * dims
    wanted = None if wanted is None else wanted[-dims:]
    if wanted is None and auto.startswith("SAME"):
        # Windows shorter than their strides leave less than that, in onnxruntime.
        spans = [dilation * (length - 1) + 1 for dilation, length in zip(dilations, lengths, strict=True)]
        wanted = [
            min(int(places) * stride, (int(places) - 1) * stride + more + span)
            for places, stride, more, span in zip(x.shape[2:], strides, extra, spans, strict=True)
        ]
    if wanted is not None:
        for axis, length in enumerate(wanted):
            full = strides[axis] * (x.shape[2 + axis] - 1) + extra[axis]
            whole = full + (lengths[axis] - 1) * dilations[axis] + 1 - length
            small = whole // 2
            before[axis], after[axis] = (
                (small, whole - small) if auto == "SAME_UPPER" else (whole - small, small)
            )
    even = before == after and min(before) >= 0 and all(map(_less, extra, strides, dilations))
    if even:
        return TRANSPOSED[dims](x, weight, bias, strides, before, extra, groups, dilations)
    found = TRANSPOSED[dims](x, weight, None, strides, 0, 0, groups, dilations)
    trims = list(zip(before, after, extra, strict=True))
    found = F.pad(found, [each for b, a, more in reversed(trims) for each in (-b, more - a)])
    return found if bias is None else found + bias.reshape(-1, *[1] * dims)


def _less(extra: int, stride: int, dilation: int) -> bool:
    return extra < max(stride, dilation)


def _dims(node: Node, x: Tensor, weight: Tensor) -> int:
    dims = x.dim() - 2
    if dims not in CONVOLUTIONS or weight.dim() != x.dim():
        raise node.failed(f"weights of shape {tuple(weight.shape)} for inputs of {tuple(x.shape)}")
    return dims
