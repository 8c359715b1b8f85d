"""Normalisation with stored or with own statistics."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import Node


def batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """With stored statistics of every channel."""
    node.ignore("momentum", "consumed_inputs")
    node.only(1)
    if node.flag("training_mode") or (node.opset < 7 and node.has("is_test") and not node.flag("is_test")):
        raise node.failed("it takes statistics of the batch: export the network in eval mode")
    if not node.flag("spatial", True):
        raise node.failed("statistics by place (spatial is 0), which mmbd does not compute")
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, node.number("epsilon", 1e-5))


def instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """With every channel's own statistics."""
    node.ignore("consumed_inputs")
    epsilon = node.number("epsilon", 1e-5)
    axes = tuple(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    along = (-1, *[1] * (x.dim() - 2))
    return (x - mean) * torch.rsqrt(variance + epsilon) * scale.reshape(along) + bias.reshape(along)


def layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """With statistics of all axes from one on."""
    node.ignore("stash_type")
    node.only(1)
    axis, epsilon = node.axis(node.integer("axis", -1), x.dim()), node.number("epsilon", 1e-5)
    lengths = list(x.shape[axis:])
    if list(scale.shape) == lengths and (bias is None or list(bias.shape) == lengths):
        return F.layer_norm(x, lengths, scale, bias, epsilon)
    found = F.layer_norm(x, lengths, None, None, epsilon) * scale
    return found if bias is None else found + bias


def group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """With statistics of groups of channels; scales are by group before version 21."""
    node.ignore("stash_type")
    groups, epsilon = node.integer("num_groups", 1, 1), node.number("epsilon", 1e-5)
    channels = x.shape[1]
    if channels % groups:
        raise node.failed(f"{channels} channels in {groups} groups")
    if scale.shape[0] != channels:
        scale, bias = (each.repeat_interleave(channels // groups) for each in (scale, bias))
    return F.group_norm(x, groups, scale, bias, epsilon)


def rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    """By the root of the mean square of all axes from one on."""
    node.ignore("stash_type")
    axis, epsilon = node.axis(node.integer("axis", -1), x.dim()), node.number("epsilon", 1e-5)
    square = x.square().mean(tuple(range(axis, x.dim())), keepdim=True)
    return x * torch.rsqrt(square + epsilon) * scale


def local_response(node: Node, x: Tensor) -> Tensor:
    """By what neighbouring channels have at the same place."""
    size = node.integer("size", 0, 1, 1 << 16)
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    squares = x.square().unsqueeze(1)
    border = [*[0, 0] * (x.dim() - 2), (size - 1) // 2, size // 2]
    padded = F.pad(squares, border)
    channels = x.shape[1]
    total: Any = 0
    for place in range(min(size, channels + size)):
        total = total + padded[:, :, place : place + channels]
    return x / (bias + alpha / size * total.squeeze(1)).pow(beta)


def mean_variance(node: Node, x: Tensor) -> Tensor:
    """(x - mean) / deviation over axes."""
    axes = node.axes(node.integers("axes", [0, 2, 3]), x.dim()) or []
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


def lp_normal(node: Node, x: Tensor) -> Tensor:
    """X over its norm along an axis."""
    axis, p = node.axis(node.integer("axis", -1), x.dim()), node.integer("p", 2, 1, 2)
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)
