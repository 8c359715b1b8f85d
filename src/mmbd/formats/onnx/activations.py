"""Activations, as torch's functions of their names, so that they are seen and can be bounded."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import Node


def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """X where it is positive, else alpha x."""
    node.ignore("consumed_inputs")
    return F.leaky_relu(x, node.number("alpha", 0.01))


def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """X where it is positive, else slope x; the slope broadcasts, one a channel as a rule."""
    node.ignore("consumed_inputs")
    channels = x.shape[1] if x.dim() > 1 else 1
    ahead = [1] * (slope.dim() - x.dim() + 1)
    by_channel = tuple(slope.shape) in ((channels, *[1] * (x.dim() - 2)), (1, channels, *[1] * (x.dim() - 2)))
    if slope.numel() == 1 or (by_channel and not ahead[2:]) or (node.opset < 7 and slope.dim() == 1):
        return F.prelu(x, slope.flatten())
    return torch.where(x > 0, x, slope * x)


def elu(node: Node, x: Tensor) -> Tensor:
    """X where it is positive, else alpha (exp(x) - 1)."""
    node.ignore("consumed_inputs")
    return F.elu(x, node.number("alpha", 1.0))


def selu(node: Node, x: Tensor) -> Tensor:
    """An ELU with a scale."""
    node.ignore("consumed_inputs")
    old = node.opset < 6
    alpha = node.number("alpha", 1.6732 if old else 1.67326319217681884765625)
    gamma = node.number("gamma", 1.0507 if old else 1.05070102214813232421875)
    return gamma * F.elu(x, alpha)


def celu(node: Node, x: Tensor) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return F.celu(x, node.number("alpha", 1.0))


def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    """X above alpha, else 0."""
    return F.threshold(x, node.number("alpha", 1.0), 0.0)


def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """Alpha x + beta, from 0 to 1."""
    node.ignore("consumed_inputs")
    return torch.clamp(node.number("alpha", 0.2) * x + node.number("beta", 0.5), 0.0, 1.0)


def gelu(node: Node, x: Tensor) -> Tensor:
    """X Phi(x), or its approximation by tanh."""
    return F.gelu(x, approximate=node.text("approximate", "none", "none", "tanh"))


def swish(node: Node, x: Tensor) -> Tensor:
    """X sigmoid(alpha x)."""
    alpha = node.number("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


def shrink(node: Node, x: Tensor) -> Tensor:
    """What is beyond +-lambd, moved to zero by bias; 0 within."""
    bias, edge = node.number("bias", 0.0), node.number("lambd", 0.5)
    nothing = torch.zeros_like(x)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, nothing))


def softmax(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A softmax along one axis; before version 13 along all from that one on."""

    def run(node: Node, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return function(x, dim=node.axis(node.integer("axis", -1), x.dim()))
        axis = node.axis(node.integer("axis", 1 if x.dim() > 1 else 0), x.dim())
        return function(x.flatten(axis), dim=axis).reshape(x.shape)

    return run


def hardmax(x: Tensor, dim: int) -> Tensor:
    """1 at the first largest element, 0 elsewhere."""
    places = x.argmax(dim, keepdim=True)
    return torch.zeros_like(x).scatter(dim, places, 1.0)
