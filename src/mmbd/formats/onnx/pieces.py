"""Tensors put together, cut up, and given a border."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node, Sizes, listing


def concat(node: Node, first: Tensor, *others: Tensor) -> Tensor:
    """One after the other along an axis."""
    axis = node.integer("axis", 1)
    return torch.cat([first, *others], node.axis(axis, first.dim()))


def split(node: Node, x: Tensor, lengths: Sizes | None = None) -> tuple[Tensor, ...]:
    """Cut along an axis, into the lengths given or into equal ones (the last may be shorter)."""
    axis, parts = node.axis(node.integer("axis", 0), x.dim()), len(node.outputs)
    if node.opset < 13:
        given = node.integers("split", None, 0)
    else:
        given = None if lengths is None else listing(lengths)
    if node.has("num_outputs") and node.integer("num_outputs", parts, 1) != parts:
        raise node.failed(f"num_outputs differs from its {parts} outputs")
    whole = x.shape[axis]
    if given is None:
        each = -(-whole // parts)
        given = [each] * (parts - 1) + [whole - each * (parts - 1)]
    if len(given) != parts:
        raise node.failed(f"{len(given)} lengths for {parts} outputs")
    return torch.split(x, list(given), axis)


def slice_(
    node: Node,
    x: Tensor,
    starts: Sizes | None = None,
    ends: Sizes | None = None,
    axes: Sizes | None = None,
    steps: Sizes | None = None,
) -> Tensor:
    """From starts to ends along axes; attributes before version 10."""
    if node.opset < 10:
        first: list[Any] | None = node.integers("starts", None, -(1 << 63), 1 << 63)
        last: list[Any] | None = node.integers("ends", None, -(1 << 63), 1 << 63)
        named = node.axes(node.integers("axes"), x.dim())
        by: list[Any] | None = None
    else:
        first = None if starts is None else listing(starts)
        last = None if ends is None else listing(ends)
        named = node.axes(axes, x.dim())
        by = None if steps is None else listing(steps)
    if first is None or last is None:
        raise node.failed("it does not say from where to where")
    named = list(range(len(first))) if named is None else named
    by = [1] * len(named) if by is None else by
    if not len(first) == len(last) == len(named) == len(by):
        raise node.failed("starts, ends, axes and steps are not equally many")
    for axis, start, end, step in zip(named, first, last, by, strict=True):
        x = _cut(node, x, node.axis(axis, x.dim()), start, end, int(step))
    return x


def _cut(node: Node, x: Tensor, axis: int, start: Any, end: Any, step: int) -> Tensor:
    if step == 0:
        raise node.failed("a step of 0")
    length = x.shape[axis]
    if step > 0:
        index: list[Any] = [slice(None)] * x.dim()
        end = None if isinstance(end, int) and end >= HUGE - 1 else end
        index[axis] = slice(start, end, min(step, HUGE))
        return x[tuple(index)]
    places = range(*slice(start, None if end < -length else end, step).indices(int(length)))
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.long, device=x.device))


def pad(
    node: Node, x: Tensor, pads: Sizes | None = None, value: Sizes | None = None, axes: Sizes | None = None
) -> Tensor:
    """A border: of one number, or of what is inside (reflect, edge, wrap); negative pads cut."""
    mode = node.text("mode", "constant", "constant", "reflect", "edge", "wrap")
    fill: Any = 0.0 if value is None or not value.size else listing(value)[0]
    if node.opset < 11:
        fill = node.number("value", 0.0)
        given = node.integers("paddings" if node.opset < 2 else "pads")
    else:
        given = None if pads is None else [int(each) for each in listing(pads)]
    named = node.axes(axes, x.dim())
    named = list(range(x.dim())) if named is None else named
    if given is None or len(given) != 2 * len(named):
        raise node.failed(f"expected two pads for each of {len(named)} axes, got {given}")
    if any(not -HUGE < each < HUGE for each in given):
        raise node.failed(f"pads {given}")
    borders = {axis: (given[place], given[place + len(named)]) for place, axis in enumerate(named)}
    if mode == "constant":
        flat = [each for axis in reversed(range(x.dim())) for each in borders.get(axis, (0, 0))]
        filled = F.pad(
            x, [max(0, each) for each in flat], value=float(fill) if x.dtype.is_floating_point else int(fill)
        )
        return F.pad(filled, [min(0, each) for each in flat]) if min(flat, default=0) < 0 else filled
    for axis, (before, after) in borders.items():
        if before or after:
            x = x.index_select(axis, _places(node, mode, x.shape[axis], before, after, x.device))
    return x


def _places(node: Node, mode: str, length: int, before: int, after: int, device: torch.device) -> Tensor:
    """Where along an axis of `length` the elements of the padded one come from."""
    if length == 0 or before + length + after < 0:
        raise node.failed(f"pads {before} and {after} of an axis of length {length}")
    if mode == "wrap":  # around what is left where pads cut
        low, high = max(0, -before), length - max(0, -after)
        if high <= low:
            raise node.failed(f"pads {before} and {after} of an axis of length {length}")
        steps = torch.arange(-max(0, before), high - low + max(0, after), device=device)
        return low + torch.remainder(steps, high - low)
    places = torch.arange(-before, length + after, device=device)
    if mode == "edge":
        return places.clamp(0, length - 1)
    period = max(1, 2 * (length - 1))
    places = torch.remainder(places, period)
    return torch.where(places < length, places, period - places)


def trilu(node: Node, x: Tensor, k: Sizes | None = None) -> Tensor:
    """The upper or the lower triangle of matrices."""
    offset = 0 if k is None else int(listing(k)[0])
    if abs(offset) > HUGE:
        raise node.failed(f"a diagonal of {offset}")
    return torch.triu(x, offset) if node.flag("upper", True) else torch.tril(x, offset)


def cumulative(node: Node, x: Tensor, axis: Sizes) -> Tensor:
    """Sums of all elements so far along an axis."""
    along = node.axis(listing(axis)[0], x.dim())
    back, exclusive = node.flag("reverse"), node.flag("exclusive")
    found = x.flip(along) if back else x
    total = torch.cumsum(found, along).to(x.dtype)
    total = total - found if exclusive else total
    return total.flip(along) if back else total
