"""Arithmetic on shapes: what exporters write to compute one shape from another.

It is done with Python's numbers, so that a shape never becomes a tensor on the way: nothing waits for
a device, and a network can be exported again for batches of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from mmbd.formats.onnx.node import Node, Sizes, listing, sizes

MOST = 64  # numbers; what is more is no shape


def _quotient(a: Any, b: Any) -> Any:
    if b == 0:
        raise ZeroDivisionError("a division by zero")
    exact = isinstance(a, int) and isinstance(b, int)
    return -(-a // b) if exact and (a < 0) != (b < 0) and a % b else a // b


def _pairs(function: Callable[[Any, Any], Any]) -> Callable[..., Sizes]:
    def run(node: Node, *values: Sizes) -> Sizes:
        if not values or node.opset < 7:
            raise NotImplementedError
        return np.asarray(reduce(np.frompyfunc(function, 2, 1), values), dtype=object)

    return run


def _gather(node: Node, values: Sizes, indices: Sizes) -> Sizes:
    axis = node.axis(node.integer("axis", 0), values.ndim)
    return np.asarray(np.take(values, indices.astype(np.int64), axis=axis), dtype=object)


def _concat(node: Node, *values: Sizes) -> Sizes:
    return np.concatenate(values, node.axis(node.integer("axis", 0), values[0].ndim))


def _axes(node: Node, given: Sizes | None, dims: int) -> list[int] | None:
    if node.opset >= 13:
        return node.axes(given, dims)
    own = node.integers("axes")
    return node.axes(own, dims)


def _squeeze(node: Node, values: Sizes, axes: Sizes | None = None) -> Sizes:
    named = _axes(node, axes, values.ndim)
    return np.asarray(np.squeeze(values, None if named is None else tuple(named)), dtype=object)


def _unsqueeze(node: Node, values: Sizes, axes: Sizes | None = None) -> Sizes:
    if values.ndim > 1:
        raise NotImplementedError
    given = node.integers("axes") if node.opset < 13 else axes
    more = 0 if given is None else len(given)
    return np.expand_dims(values, tuple(_axes(node, axes, values.ndim + more) or ()))


def _slice(
    node: Node,
    values: Sizes,
    starts: Sizes | None = None,
    ends: Sizes | None = None,
    axes: Sizes | None = None,
    steps: Sizes | None = None,
) -> Sizes:
    if values.ndim != 1:
        raise NotImplementedError
    if node.opset < 10:
        first: Sequence[Any] | None = node.integers("starts", None, -(1 << 63), 1 << 63)
        last: Sequence[Any] | None = node.integers("ends", None, -(1 << 63), 1 << 63)
        node.ignore("axes")
    else:
        first = None if starts is None else listing(starts)
        last = None if ends is None else listing(ends)
    if first is None or last is None or len(first) != 1 or len(last) != 1:
        raise NotImplementedError
    return values[first[0] : last[0] : 1 if steps is None else listing(steps)[0]]


def _cast(node: Node, values: Sizes) -> Sizes:
    node.ignore("saturate", "round_mode")
    if node.attributes.get("to") not in (6, 7):
        raise NotImplementedError
    node.ignore("to")
    return values


def _reshape(node: Node, values: Sizes, lengths: Sizes | None = None) -> Sizes:
    node.ignore("allowzero")
    if node.opset < 5 or lengths is None or 0 in listing(lengths):
        raise NotImplementedError
    return values.reshape([int(length) for length in listing(lengths)])


def _product(node: Node, values: Sizes, axes: Sizes | None = None) -> Sizes:
    keep = node.flag("keepdims", True)
    node.ignore("axes", "noop_with_empty_axes")
    if values.ndim != 1:
        raise NotImplementedError
    found: Any = reduce(lambda a, b: a * b, listing(values), 1)
    return sizes([found]) if keep else sizes(found)


def _where(node: Node, condition: Sizes, a: Sizes, b: Sizes) -> Sizes:
    return np.where(condition.astype(bool), a, b)


def _shape(node: Node, values: Sizes) -> Sizes:
    if node.has("start") or node.has("end"):
        raise NotImplementedError
    return sizes(list(values.shape))


def _same(node: Node, values: Sizes) -> Sizes:
    return values


LENGTHS: dict[str, Callable[..., Sizes]] = {
    "Add": _pairs(lambda a, b: a + b),
    "Sub": _pairs(lambda a, b: a - b),
    "Mul": _pairs(lambda a, b: a * b),
    "Div": _pairs(_quotient),
    "Max": _pairs(max),
    "Min": _pairs(min),
    "Equal": _pairs(lambda a, b: a == b),
    "Gather": _gather,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Cast": _cast,
    "Reshape": _reshape,
    "ReduceProd": _product,
    "Where": _where,
    "Identity": _same,
    "Shape": _shape,
}
