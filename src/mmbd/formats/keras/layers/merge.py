"""Layers of several inputs: sums, products, means, extremes, joins and inner products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from math import prod
from operator import add, mul

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.making import Making, Row, limited, spread
from mmbd.formats.keras.values import Layer, place


def _level(inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """All with as many axes as the one that has most: Keras puts new ones behind the batch."""
    rank = max(each.dim() for each in inputs)
    return [each.reshape(each.shape[0], *[1] * (rank - each.dim()), *each.shape[1:]) for each in inputs]


def _folded(*inputs: Tensor, fold: Callable[[Tensor, Tensor], Tensor], mean: bool, moved: bool) -> Tensor:
    level = _level(inputs)
    spread(*level)
    found = reduce(fold, level)
    return found / len(inputs) if mean else found


def folded(making: Making, fold: Callable[[Tensor, Tensor], Tensor], mean: bool = False) -> nn.Module:
    """`Add`, `Multiply`, `Average`, `Maximum`, `Minimum`."""
    return Layer(partial(_folded, fold=fold, mean=mean))


def _subtracted(one: Tensor, other: Tensor, moved: bool) -> Tensor:
    one, other = _level((one, other))
    spread(one, other)
    return one - other


def subtracted(making: Making) -> nn.Module:
    """`Subtract`: of two inputs."""
    return Layer(_subtracted)


def _joined(*inputs: Tensor, axis: int, moved: bool) -> Tensor:
    return torch.cat(inputs, place(axis, inputs[0].dim(), moved))


def joined(making: Making) -> nn.Module:
    """`Concatenate`, along one axis, never that of the batch."""
    axis = making.settings.whole("axis", -1, low=-8, high=8)
    if axis == 0:
        raise making.settings.refused("joins several inputs of a batch")
    return Layer(partial(_joined, axis=axis))


def _inner(one: Tensor, other: Tensor, axes: tuple[int, int], normalize: bool) -> Tensor:
    where = place(axes[0], one.dim(), False), place(axes[1], other.dim(), False)
    if 0 in where:
        raise Failed("a Dot layer works along the batch, which is not supported")
    if normalize:
        one, other = functional.normalize(one, dim=where[0]), functional.normalize(other, dim=where[1])
    one, other = one.movedim(where[0], -1), other.movedim(where[1], 1)
    rest = (*one.shape[1:-1], *other.shape[2:])
    limited(prod(rest), "Dot")
    found = torch.bmm(one.reshape(one.shape[0], -1, one.shape[-1]), other.reshape(*other.shape[:2], -1))
    return found.reshape(one.shape[0], *(rest or (1,)))


def inner(making: Making) -> nn.Module:
    """`Dot`: products of two inputs along an axis of each."""
    axes = making.settings.wholes("axes", most=2)
    run = partial(_inner, axes=(axes[0], axes[-1]), normalize=making.settings.flag("normalize", False))
    return Layer(run, "kept")


ROWS: dict[str, Row] = {
    "Add": partial(folded, fold=add),
    "Multiply": partial(folded, fold=mul),
    "Average": partial(folded, fold=add, mean=True),
    "Maximum": partial(folded, fold=torch.maximum),
    "Minimum": partial(folded, fold=torch.minimum),
    "Subtract": subtracted,
    "Concatenate": joined,
    "Dot": inner,
}
