"""Elements by their places, and tensors that are made of sizes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node, Sizes, Value, listing, sizes


def _places(node: Node, indices: Tensor, length: int) -> Tensor:
    """Indices counted from 0, where negative ones count from the end."""
    if indices.dtype.is_floating_point:
        raise node.failed("its indices are no whole numbers")
    indices = indices.long()
    return torch.where(indices < 0, indices + length, indices)


def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """Slices of an axis, by their places."""
    axis = node.axis(node.integer("axis", 0), x.dim())
    places = _places(node, indices, x.shape[axis])
    found = x.index_select(axis, places.flatten())
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_one(node: Node, x: Tensor, index: Sizes) -> Tensor:
    """A single slice of an axis, without a copy."""
    axis = node.axis(node.integer("axis", 0), x.dim())
    place = int(listing(index)[0])
    if not -x.shape[axis] <= place < x.shape[axis]:
        raise node.failed(f"place {place} of an axis of length {x.shape[axis]}")
    found = x.select(axis, place)
    return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]]) if index.ndim else found


def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """Elements by their places along an axis."""
    axis = node.axis(node.integer("axis", 0), x.dim())
    return x.gather(axis, _places(node, indices, x.shape[axis]))


def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """Slices by their places along the first axes."""
    batch = node.integer("batch_dims", 0, 0, min(x.dim(), indices.dim()) - 1)
    depth = indices.shape[-1]
    if batch + depth > x.dim():
        raise node.failed(f"indices of {depth} axes in a tensor with {x.dim()}")
    for axis in range(batch):
        if x.shape[axis] != indices.shape[axis]:
            raise node.failed("its batches differ")
    own: list[Tensor] = []
    outer = indices.dim() - 1
    for axis in range(batch):
        view = [-1 if each == axis else 1 for each in range(outer)]
        own.append(torch.arange(x.shape[axis], device=x.device).reshape(view))
    named = [_places(node, indices[..., each], x.shape[batch + each]) for each in range(depth)]
    return x[(*own, *named)]


def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with slices replaced, or added to."""
    how = node.text("reduction", "none", "none", "add")
    depth = indices.shape[-1]
    places = tuple(_places(node, indices[..., each], x.shape[each]) for each in range(depth))
    return x.index_put(places, updates, accumulate=how == "add")


def scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy with elements replaced, or added to, along an axis."""
    how = node.text("reduction", "none", "none", "add")
    axis = node.axis(node.integer("axis", 0), x.dim())
    places = _places(node, indices, x.shape[axis])
    return x.scatter_add(axis, places, updates) if how == "add" else x.scatter(axis, places, updates)


def one_hot(node: Node, indices: Tensor, depth: Sizes, values: Tensor) -> Tensor:
    """The second of two values at the place that an index names, the first elsewhere."""
    classes = int(listing(depth)[0])
    if not 0 < classes < HUGE or values.numel() != 2:
        raise node.failed(f"a depth of {classes}, and {values.numel()} values")
    axis = node.axis(node.integer("axis", -1), indices.dim() + 1)
    places = indices.long()
    places = torch.where(places < 0, places + classes, places).unsqueeze(axis)
    every = torch.arange(classes, device=indices.device)
    hot = places == every.reshape([-1 if each == axis else 1 for each in range(places.dim())])
    return torch.where(hot, values[1], values[0])


def top_k(node: Node, x: Tensor, k: Sizes | None = None) -> tuple[Tensor, Tensor]:
    """The k largest or smallest along an axis, and where they are."""
    axis = node.axis(node.integer("axis", -1), x.dim())
    count = node.integer("k", 1, 1) if node.opset < 10 else int(listing(k)[0] if k is not None else 1)
    if not 0 < count <= x.shape[axis]:
        raise node.failed(f"the first {count} of {x.shape[axis]}")
    node.ignore("sorted")
    # Not torch.topk, which takes any of equal ones, where ONNX takes the first.
    found = torch.sort(x, stable=True, dim=axis, descending=node.flag("largest", True))
    return found.values.narrow(axis, 0, count), found.indices.narrow(axis, 0, count)


def constant_of_shape(node: Node, lengths: Sizes) -> Value:
    """A tensor of one number."""
    shape = listing(lengths)
    value = node.scalar("value")
    for length in shape:
        if isinstance(length, int) and not 0 <= length < HUGE:
            raise node.failed(f"shape {shape}")
    if value is not None and value.dtype == torch.int64 and len(shape) == 1 and shape[0] < 64:
        return sizes([value.number] * int(shape[0]))
    dtype = torch.float32 if value is None else value.dtype
    return torch.full(shape, 0.0 if value is None else value.number, dtype=dtype)


def range_(node: Node, start: Sizes, limit: Sizes, delta: Sizes) -> Tensor:
    """Numbers from `start` to before `limit`, by `delta`."""
    first, last, step = (listing(each)[0] for each in (start, limit, delta))
    if step == 0 or not all(math.isfinite(each) for each in (first, last, step)):
        raise node.failed(f"from {first} to {last} by {step}")
    count = max(0, math.ceil((last - first) / step))
    if count >= HUGE:
        raise node.failed(f"{count} numbers")
    whole = all(isinstance(each, int) for each in (first, last, step))
    dtype = torch.int64 if whole else torch.float32
    return torch.arange(count, dtype=dtype) * step + first


def eye_like(node: Node, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    node.ignore("dtype")
    offset = node.integer("k", 0)
    ones = torch.ones(x.shape, device=x.device)
    return torch.triu(ones, offset) * torch.tril(ones, offset)


def cast(node: Node, x: Tensor) -> Tensor:
    """Another kind of number; every kind of floating-point number is float32 here."""
    node.ignore("saturate", "round_mode")
    to: Any = node.attributes.get("to")
    node.ignore("to")
    names: dict[Any, int] = {
        "FLOAT": 1,
        "FLOAT16": 10,
        "DOUBLE": 11,
        "INT32": 6,
        "INT64": 7,
        "BOOL": 9,
    }  # of version 1
    kind = CASTS.get(names.get(to, to) if isinstance(to, int | str) else None)
    if kind is None:
        raise node.failed(f"numbers of kind {to!r:.20}, which mmbd does not compute with")
    return x if x.dtype == kind else x.to(kind)


def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    """The kind of number of another tensor."""
    node.ignore("saturate", "round_mode")
    return x.to(like.dtype)


CASTS: dict[Any, torch.dtype] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.int64,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float32,
    12: torch.int64,
    13: torch.int64,
    16: torch.float32,
}
