"""What is called for some operations instead of torch's overloads, by their names.

Activations and layers are called as the functions that `model.activations` watches for, so that bounds can
be learnt; recurrent layers with their sizes checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _convolution(
    given: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Tensor:
    """aten.convolution by the functions that networks are written with."""
    places = weight.dim() - 2
    if transposed:
        made = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[places - 1]
        return made(given, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[places - 1](given, weight, bias, stride, padding, dilation, groups)


def _batch_norm(
    given: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """aten._native_batch_norm_legit_no_training; what it saves for training is empty."""
    made = torch.batch_norm(given, weight, bias, mean, variance, False, momentum, eps, False)
    return made, given.new_empty(0), given.new_empty(0)


def _recurrent(name: str, gates: int) -> Callable[..., Any]:
    """A recurrent layer; torch leaves its sizes to the caller, and wrong ones corrupt memory."""

    def apply(
        given: Tensor,
        states: Tensor | list[Tensor],
        weights: list[Tensor],
        has_biases: bool,
        layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> Any:
        held = [states] if isinstance(states, Tensor) else states
        ways, each = 1 + bidirectional, 4 if has_biases else 2
        if (
            given.dim() != 3
            or len(held) != (2 if name == "lstm" else 1)
            or len(weights) != layers * ways * each
        ):
            raise ValueError(f"{name} with {len(weights)} weights for {layers} layers")
        batch, width = given.shape[0 if batch_first else 1], held[0].shape[-1]
        wanted = [(layers * ways, batch, width)] * len(held)
        for layer in range(layers):
            below = given.shape[-1] if layer == 0 else ways * width
            sizes = [(gates * width, below), (gates * width, width), (gates * width,), (gates * width,)]
            wanted += sizes[:each] * ways
        for tensor, size in zip([*held, *weights], wanted, strict=True):
            if tuple(tensor.shape) != size or tensor.dtype != given.dtype:
                raise ValueError(f"{name} with {tuple(tensor.shape)} where {size} belongs")
        overload = getattr(torch.ops.aten, name).input
        return overload(
            given, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first
        )

    return apply


def _itself(given: Tensor) -> Tensor:
    """What cuts gradients off or names a tensor anew changes no answer, so it is nothing here."""
    return given


AS_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "detach.default": _itself,
    "detach_.default": _itself,
    "alias.default": _itself,
    "lift_fresh_copy.default": torch.clone,
    "convolution.default": _convolution,
    "relu.default": torch.relu,
    "relu_.default": torch.relu_,
    "relu6.default": F.relu6,
    "leaky_relu.default": F.leaky_relu,
    "leaky_relu_.default": F.leaky_relu_,
    "prelu.default": torch.prelu,
    "elu.default": lambda x, alpha=1.0, scale=1.0, input_scale=1.0: _elu(x, alpha, scale, input_scale),
    "selu.default": torch.selu,
    "celu.default": torch.celu,
    "gelu.default": F.gelu,
    "silu.default": F.silu,
    "silu_.default": lambda x: F.silu(x, inplace=True),
    "mish.default": F.mish,
    "softplus.default": F.softplus,
    "hardtanh.default": F.hardtanh,
    "hardtanh_.default": F.hardtanh_,
    "hardswish.default": F.hardswish,
    "hardswish_.default": lambda x: F.hardswish(x, inplace=True),
    "linear.default": F.linear,
    "matmul.default": torch.matmul,
    "layer_norm.default": torch.layer_norm,
    "conv1d.default": torch.conv1d,
    "conv2d.default": torch.conv2d,
    "conv3d.default": torch.conv3d,
    "conv1d.padding": torch.conv1d,
    "conv2d.padding": torch.conv2d,
    "conv3d.padding": torch.conv3d,
    "conv_transpose1d.default": torch.conv_transpose1d,
    "conv_transpose2d.input": torch.conv_transpose2d,
    "conv_transpose3d.input": torch.conv_transpose3d,
    "batch_norm.default": torch.batch_norm,
    "_native_batch_norm_legit_no_training.default": _batch_norm,
    "group_norm.default": torch.group_norm,
    "instance_norm.default": torch.instance_norm,
    "add.Tensor": torch.add,
    "lstm.input": _recurrent("lstm", 4),
    "gru.input": _recurrent("gru", 3),
    "rnn_tanh.input": _recurrent("rnn_tanh", 1),
    "rnn_relu.input": _recurrent("rnn_relu", 1),
}


def _elu(given: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    if (scale, input_scale) == (1.0, 1.0):
        return F.elu(given, alpha)
    return torch.ops.aten.elu.default(given, alpha, scale, input_scale)
