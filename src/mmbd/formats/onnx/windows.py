"""What convolutions and pooling have in common: lengths, strides and borders of windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node


@dataclass(frozen=True)
class Windows:
    """Windows along the axes of places: their lengths, strides and dilations, and pads on both sides."""

    lengths: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @property
    def symmetric(self) -> bool:
        """Whether the pads are the same on both sides, and none cuts."""
        return self.before == self.after and min(self.before) >= 0

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        """The input with its border."""
        if not any(self.before) and not any(self.after):
            return x
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return F.pad(x, [each for pair in pairs for each in pair], value=value)


def windows(node: Node, x: Tensor, lengths: list[int], ceil: bool = False, pooling: bool = False) -> Windows:
    """The windows that a node describes for an input (n, channels, *places).

    Args:
        node: with strides, dilations, pads and auto_pad.
        x: the input.
        lengths: of the windows.
        ceil: whether the last window may reach over the border, which the pads then make room for.
        pooling: whether SAME pads are those of windows without dilations, as onnxruntime has them.
    """
    dims = x.dim() - 2
    if dims < 1 or len(lengths) != dims:
        raise node.failed(f"windows of {lengths} for an input of shape {tuple(x.shape)}")
    strides = node.integers("strides", None, 1, HUGE, dims) or [1] * dims
    dilations = node.integers("dilations", None, 1, HUGE, dims) or [1] * dims
    pads = node.integers("pads", None, 0, HUGE, 2 * dims) or [0] * 2 * dims
    auto = node.text("auto_pad", "NOTSET", "NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER")
    before, after = pads[:dims], pads[dims:]
    if auto == "VALID":
        before, after = [0] * dims, [0] * dims
    reach = [dilation * (length - 1) + 1 for dilation, length in zip(dilations, lengths, strict=True)]
    for axis, (places, span, stride) in enumerate(zip(x.shape[2:], reach, strides, strict=True)):
        if auto.startswith("SAME"):
            wanted = lengths[axis] if pooling else span
            whole = (-(-places // stride) - 1) * stride + wanted - places
            if whole >= 0 or not pooling:
                whole = max(0, whole)
                less, more = whole // 2, whole - whole // 2
                before[axis], after[axis] = (less, more) if auto == "SAME_UPPER" else (more, less)
            else:  # onnxruntime's pooling cuts where windows are shorter than their strides
                less = -(-whole // 2) if auto == "SAME_UPPER" else -((-whole - 1) // 2)
                before[axis], after[axis] = less, whole - less
        if ceil:
            left = (places + before[axis] + after[axis] - span) % stride
            last = places + before[axis] + after[axis] - left - span + stride  # where one more would begin
            if left and last < places + before[axis]:
                after[axis] += stride - left
    return Windows(lengths, strides, dilations, before, after)
