"""Images made larger or smaller, axis by axis."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node, Sizes, listing

WHERE = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
)
ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def upsample(node: Node, x: Tensor, scales: Sizes | None = None) -> Tensor:
    """Larger by factors; an attribute before version 9. Places as the operator of that time has them."""
    mode = node.text("mode", "nearest", "nearest", "linear", "bilinear").removeprefix("bi")
    factors: list[Any] | None = None if scales is None else listing(scales)
    if node.opset < 7:
        across, down = node.number("width_scale", 1.0), node.number("height_scale", 1.0)
        factors = [1.0, 1.0, down, across]
    elif node.opset < 9:
        factors = node.numbers("scales")
    if factors is None:
        raise node.failed("it has no scales")
    lengths = [_scaled(node, length, factor) for length, factor in zip(x.shape, factors, strict=True)]
    for axis, (length, factor) in enumerate(zip(lengths, factors, strict=True)):
        if factor != 1:
            x = _resized(x, axis, length, factor, mode, "asymmetric", "floor", -0.75, False)
    return x


def resize(
    node: Node, x: Tensor, roi: Sizes | None = None, scales: Sizes | None = None, lengths: Sizes | None = None
) -> Tensor:
    """Other lengths, by factors or as given (version 10 has scales as its only other input)."""
    old = node.opset < 11
    mode = node.text("mode", "nearest", "nearest", "linear", "cubic")
    if old:
        roi, scales = None, roi
    where = node.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel", *WHERE)
    rounding = node.text("nearest_mode", "floor" if old else "round_prefer_floor", *ROUNDING)
    node.text("keep_aspect_ratio_policy", "stretch", "stretch")
    node.ignore("extrapolation_value")
    alpha, outside = node.number("cubic_coeff_a", -0.75), node.flag("exclude_outside")
    if node.flag("antialias"):
        raise node.failed("antialias, which mmbd does not compute")
    axes = node.axes(node.integers("axes"), x.dim())
    axes = list(range(x.dim())) if axes is None else axes
    if lengths is not None and lengths.size:
        wanted = [int(each) for each in listing(lengths)]
        factors: list[float] = [to / max(1, int(x.shape[a])) for to, a in zip(wanted, axes, strict=True)]
    elif scales is not None and scales.size:
        factors = [float(each) for each in listing(scales)]
        wanted = [_scaled(node, x.shape[axis], by) for axis, by in zip(axes, factors, strict=True)]
    else:
        raise node.failed("it has neither scales nor sizes")
    if any(not 0 < each < HUGE for each in wanted):
        raise node.failed(f"lengths of {wanted}")
    for axis, length, factor in zip(axes, wanted, factors, strict=True):
        if factor != 1 or length != x.shape[axis]:
            x = _resized(x, axis, length, factor, mode, where, rounding, alpha, outside)
    return x


def _scaled(node: Node, length: int, factor: Any) -> int:
    found = float(factor) * int(length)
    if not math.isfinite(found) or not 0 < found < HUGE:
        raise node.failed(f"a scale of {factor}")
    return math.floor(found)


def _resized(
    x: Tensor,
    axis: int,
    length: int,
    factor: float,
    mode: str,
    where: str,
    rounding: str,
    alpha: float,
    outside: bool,
) -> Tensor:
    """One axis in another length."""
    own = x.shape[axis]
    # Where two elements are equally near, rounding decides: in single precision, as onnxruntime has it.
    kind = torch.float32 if mode == "nearest" else torch.float64
    to = torch.arange(length, dtype=kind, device="meta" if x.is_meta else "cpu")
    if where == "asymmetric":
        at = to / factor
    elif where == "align_corners":
        at = to * (own - 1) / (length - 1) if length > 1 else to * 0
    elif where == "pytorch_half_pixel":
        at = (to + 0.5) / factor - 0.5 if length > 1 else to * 0
    elif where == "half_pixel_symmetric":
        scaled = torch.tensor(factor, dtype=kind) * own
        at = own / 2 * (1 - length / scaled) + (to + 0.5) / factor - 0.5
    elif where == "tf_half_pixel_for_nn":
        at = (to + 0.5) / factor
    else:
        at = (to + 0.5) / factor - 0.5
    if mode == "nearest":
        places = {
            "round_prefer_floor": lambda: torch.floor(at) + (at - torch.floor(at) > 0.5),
            "round_prefer_ceil": lambda: torch.floor(at) + (at - torch.floor(at) >= 0.5),
            "floor": lambda: torch.floor(at),
            "ceil": lambda: torch.ceil(at),
        }[rounding]()
        return x.index_select(axis, places.long().clamp(0, own - 1).to(x.device))
    first = torch.floor(at)
    rest = at - first
    if mode == "linear":
        weights = {0: 1 - rest, 1: rest}
    else:
        weights = {offset: _cubic((rest - offset).abs(), alpha) for offset in (-1, 0, 1, 2)}
    if outside:
        inside = {k: (first + k >= 0) & (first + k < own) for k in weights}
        weights = {k: torch.where(inside[k], weight, 0.0) for k, weight in weights.items()}
        total = sum(weights.values())
        weights = {k: weight / total for k, weight in weights.items()}
    found: Any = 0
    along = [-1 if each == axis else 1 for each in range(x.dim())]
    for offset, weight in weights.items():
        places = (first.long() + offset).clamp(0, own - 1).to(x.device)
        found = found + x.index_select(axis, places) * weight.to(x).reshape(along)
    return found


def _cubic(distance: Tensor, a: float) -> Tensor:
    """The weight of an element at this distance, below 2."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return torch.where(distance <= 1, near, far)
