"""Products of matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import Node


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Alpha * A' B' + beta * C."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    swap_a, swap_b = node.flag("transA"), node.flag("transB")
    node.ignore("broadcast")  # of version 1: what broadcasts does so since
    if a.dim() != 2 or b.dim() != 2:
        raise node.failed(f"expected two matrices, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    a, weight = a.t() if swap_a else a, b if swap_b else b.t()
    bias = c if c is None or beta == 1 else beta * c
    if bias is not None and bias.dim() == 2 and bias.shape[0] == 1:
        bias = bias[0]
    if alpha != 1:
        weight = alpha * weight
    if bias is None or tuple(bias.shape) == (weight.shape[0],):
        return F.linear(a, weight, bias)
    return F.linear(a, weight) + bias


def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """NumPy's product of stacks of matrices."""
    return torch.matmul(a, b)


def biased(node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """X W + b, which `joining` makes of two nodes."""
    return F.linear(x, weight.t(), bias)


def einsum(node: Node, *tensors: Tensor) -> Tensor:
    """A sum of products in Einstein's notation."""
    equation = node.attributes.get("equation")
    node.ignore("equation")
    if not isinstance(equation, str) or len(equation) > 200:
        raise node.failed("expected an equation of at most 200 characters")
    return torch.einsum(equation.replace(" ", ""), *tensors)
