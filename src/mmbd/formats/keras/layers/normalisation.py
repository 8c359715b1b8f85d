"""Norms: over the batch's statistics in training, over axes of one input, and by stored numbers."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.formats.keras.layers.making import Making, Row
from mmbd.formats.keras.values import Layer, place


def _axis(making: Making, default: int = -1) -> int:
    axes = making.settings.wholes("axis", default)
    if len(axes) != 1:
        raise making.settings.refused("works along several axes at once")
    return axes[0]


def _batch(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    axis: int,
    epsilon: float,
    moved: bool,
) -> Tensor:
    where = place(axis, x.dim(), moved)
    turned = x if where == 1 else x.movedim(where, 1)
    turned = functional.batch_norm(turned, mean, variance, gamma, beta, False, 0.0, epsilon)
    return turned if where == 1 else turned.movedim(1, where)


def batch(making: Making) -> nn.Module:
    """`BatchNormalization` with the statistics of its training."""
    settings, weights = making.settings, making.weights
    scale, centre = settings.flag("scale", True), settings.flag("center", True)
    gamma = weights.take("gamma", (None,)) if scale else None
    beta = weights.take("beta", (None,)) if centre else None
    mean, variance = weights.take("moving_mean", (None,)), weights.take("moving_variance", (None,))
    run = partial(_batch, axis=_axis(making), epsilon=settings.number("epsilon", 1e-3))
    kept = {"mean": mean, "variance": variance}
    return Layer(run, "any", {"gamma": gamma, "beta": beta}, kept)


def _layer(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, axes: tuple[int, ...], epsilon: float
) -> Tensor:
    where = sorted(place(axis, x.dim(), False) for axis in axes)
    if where == list(range(where[0], x.dim())):
        return functional.layer_norm(x, x.shape[where[0] :], gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, where, correction=0, keepdim=True)
    x = (x - mean) * torch.rsqrt(variance + epsilon)
    shape = [length if axis in where else 1 for axis, length in enumerate(x.shape)]
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


def _rms(x: Tensor, gamma: Tensor | None, axes: tuple[int, ...], epsilon: float) -> Tensor:
    where = [place(axis, x.dim(), False) for axis in axes]
    x = x * torch.rsqrt(x.square().mean(where, keepdim=True) + epsilon)
    return x if gamma is None else x * gamma


def layer(making: Making) -> nn.Module:
    """`LayerNormalization`, over the last axis or several."""
    settings, weights = making.settings, making.weights
    axes = settings.wholes("axis", -1)
    if settings.flag("rms_scaling", False):
        raise settings.refused("scales by root mean squares")
    gamma = weights.take("gamma") if settings.flag("scale", True) else None
    beta = weights.take("beta") if settings.flag("center", True) else None
    run = partial(_layer, axes=axes, epsilon=settings.number("epsilon", 1e-3))
    return Layer(run, "kept", {"gamma": gamma, "beta": beta})


def rms(making: Making) -> nn.Module:
    """`RMSNormalization`."""
    settings = making.settings
    run = partial(_rms, axes=(_axis(making),), epsilon=settings.number("epsilon", 1e-6))
    return Layer(run, "kept", {"gamma": making.weights.take("scale", (None,))})


def _group(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, groups: int, axis: int, epsilon: float, moved: bool
) -> Tensor:
    where = place(axis, x.dim(), moved)
    count = x.shape[where] if groups == -1 else groups
    turned = functional.group_norm(x.movedim(where, 1), count, gamma, beta, epsilon)
    return turned.movedim(1, where)


def group(making: Making) -> nn.Module:
    """`GroupNormalization`; -1 groups are as many as channels."""
    settings, weights = making.settings, making.weights
    gamma = weights.take("gamma", (None,)) if settings.flag("scale", True) else None
    beta = weights.take("beta", (None,)) if settings.flag("center", True) else None
    groups = settings.whole("groups", 32, low=-1)
    run = partial(_group, groups=groups, axis=_axis(making), epsilon=settings.number("epsilon", 1e-3))
    return Layer(run, "any", {"gamma": gamma, "beta": beta})


def _unit(x: Tensor, axes: tuple[int, ...], moved: bool) -> Tensor:
    where = [place(axis, x.dim(), moved) for axis in axes]
    return x * torch.rsqrt(torch.clamp(x.square().sum(where, keepdim=True), min=1e-12))


def unit(making: Making) -> nn.Module:
    """`UnitNormalization`: to a length of 1 along axes."""
    return Layer(partial(_unit, axes=making.settings.wholes("axis", -1)), "any")


def _stored(x: Tensor, mean: Tensor, variance: Tensor, axes: tuple[int, ...], invert: bool) -> Tensor:
    where = [place(axis, x.dim(), False) for axis in axes]
    shape = [length if axis in where else 1 for axis, length in enumerate(x.shape)]
    if mean.numel() == 1:
        shape = [1] * x.dim()
    deviation = torch.clamp(variance.sqrt(), min=1e-7).reshape(shape)
    mean = mean.reshape(shape)
    return mean + x * deviation if invert else (x - mean) / deviation


def stored(making: Making) -> nn.Module:
    """`Normalization` by a mean and a variance that were given, or found before training."""
    settings, weights = making.settings, making.weights
    axes = () if settings.values.get("axis", -1) is None else settings.wholes("axis", -1)
    if settings.has("mean") and settings.has("variance"):
        given: list[Any] = [settings.numbers("mean"), settings.numbers("variance")]
        mean, variance = (torch.tensor(each, dtype=torch.float32) for each in given)
    else:
        mean, variance = weights.take("mean").flatten(), weights.take("variance").flatten()
        weights.optional("count")
    if mean.numel() != variance.numel() or prod(variance.shape) < 1 or bool((variance < 0).any()):
        raise settings.failed("has a mean and a variance that do not go together")
    run = partial(_stored, axes=axes, invert=settings.flag("invert", False))
    return Layer(run, "kept", buffers={"mean": mean, "variance": variance})


ROWS: dict[str, Row] = {
    "BatchNormalization": batch,
    "BatchNormalizationV1": batch,
    "BatchNormalizationV2": batch,
    "SyncBatchNormalization": batch,
    "LayerNormalization": layer,
    "RMSNormalization": rms,
    "GroupNormalization": group,
    "UnitNormalization": unit,
    "Normalization": stored,
}
