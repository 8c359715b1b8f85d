"""Activation functions by Keras' names, and the layers that are nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.formats.keras.layers.making import Making, Row, spread
from mmbd.formats.keras.settings import Settings
from mmbd.formats.keras.values import Layer, place

Function = Callable[[Tensor], Tensor]


def linear(x: Tensor) -> Tensor:
    """The tensor as it is."""
    return x


def hard_sigmoid2(x: Tensor) -> Tensor:
    """As Keras 2 has it: 0.2 x + 0.5 between 0 and 1; Keras 3 has x / 6 + 0.5."""
    return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


FUNCTIONS: dict[str, Function] = {
    "linear": linear,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_sigmoid2": hard_sigmoid2,
    "tanh": torch.tanh,
    "elu": functional.elu,
    "selu": functional.selu,
    "celu": functional.celu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
    "hard_silu": functional.hardswish,
    "mish": functional.mish,
    "leaky_relu": partial(functional.leaky_relu, negative_slope=0.2),
    "exponential": torch.exp,
    "log_sigmoid": functional.logsigmoid,
    "hard_tanh": functional.hardtanh,
    "tanh_shrink": functional.tanhshrink,
    "hard_shrink": functional.hardshrink,
    "soft_shrink": functional.softshrink,
}
ALONG = {"softmax": functional.softmax, "log_softmax": functional.log_softmax}
OLDER = {"softmax_v2": "softmax", "swish": "silu", "hard_swish": "hard_silu"}  # names that Keras has had
NAMES = (*FUNCTIONS, *ALONG)
# What logits go through at the end of a classifier.
ENDS = ("softmax", "log_softmax", "sigmoid")


def name_of(settings: Settings, name: str = "activation", default: str = "linear") -> str:
    """The name of an activation function in a layer's settings.

    Raises:
        Failed: none that Keras has.
    """
    value: Any = settings.values.get(name)
    if isinstance(value, Mapping):  # as a layer, or as a function by name
        inner = value.get("config")
        value = inner.get("activation", value.get("class_name")) if isinstance(inner, Mapping) else inner
        value = {"ReLU": "relu", "Softmax": "softmax"}.get(str(value), value)
        settings = Settings(settings.kind, settings.name, {name: value})
    word = settings.values.get(name)
    if isinstance(word, str) and word in OLDER:
        return OLDER[word]
    return settings.word(name, NAMES, default)


def function(name: str) -> Function | None:
    """The function of a tensor's numbers one by one; None for those along the channels."""
    return FUNCTIONS.get(name)


def along_channels(x: Tensor, name: str, moved: bool) -> Tensor:
    """Any activation function, on a tensor in either layout."""
    if name in ALONG:
        return ALONG[name](x, dim=1 if moved else -1)
    return FUNCTIONS[name](x)


def after(making: Making) -> str:
    """The name of the function at the end of a layer that has one; linear where that is left out."""
    name = name_of(making.settings)
    return "linear" if making.bare and name in ENDS else name


def _named(x: Tensor, name: str, moved: bool) -> Tensor:
    return along_channels(x, name, moved)


def activation(making: Making) -> nn.Module:
    """`Activation`: a function by name."""
    return Layer(partial(_named, name=after(making)))


def _relu(x: Tensor, top: float | None, slope: float, threshold: float, moved: bool) -> Tensor:
    if threshold == 0.0 and slope == 0.0:
        if top is None:
            return functional.relu(x)
        return functional.hardtanh(x, 0.0, top)
    if threshold == 0.0:
        x = functional.leaky_relu(x, slope)
    else:
        x = torch.where(x >= threshold, functional.relu(x) if threshold > 0 else x, slope * (x - threshold))
    return x if top is None else torch.clamp(x, max=top)


def relu(making: Making) -> nn.Module:
    """`ReLU`, with a slope below and a limit above."""
    settings = making.settings
    slope = settings.number("negative_slope", 0.0)
    top = settings.number("max_value") if settings.has("max_value") else None
    if top is not None and top <= 0:
        raise settings.failed("has a max_value that is not above 0")
    return Layer(partial(_relu, top=top, slope=slope, threshold=settings.number("threshold", 0.0)))


def _plain(x: Tensor, run: Function, moved: bool) -> Tensor:
    return run(x)


def leaky_relu(making: Making) -> nn.Module:
    """`LeakyReLU`: Keras 2 calls its slope alpha."""
    settings = making.settings
    name = "alpha" if settings.has("alpha") else "negative_slope"
    slope = settings.number(name, 0.3)
    return Layer(partial(_plain, run=partial(functional.leaky_relu, negative_slope=slope)))


def elu(making: Making) -> nn.Module:
    """`ELU`."""
    alpha = making.settings.number("alpha", 1.0)
    return Layer(partial(_plain, run=partial(functional.elu, alpha=alpha)))


def thresholded_relu(making: Making) -> nn.Module:
    """`ThresholdedReLU` of Keras 2."""
    threshold = making.settings.number("theta", 1.0)
    return Layer(partial(_above, threshold=threshold))


def _above(x: Tensor, threshold: float, moved: bool) -> Tensor:
    return torch.where(x > threshold, functional.relu(x) if threshold >= 0 else x, torch.zeros_like(x))


def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    if x.dim() == 2 or alpha.numel() == alpha.shape[-1]:  # a slope a channel
        turned = x.movedim(-1, 1)
        return functional.prelu(turned, alpha.reshape(-1)).movedim(1, -1)
    spread(x, alpha[None])
    return functional.relu(x) - alpha * functional.relu(-x)


def prelu(making: Making) -> nn.Module:
    """`PReLU`: a slope for every number of an input, or shared along axes."""
    return Layer(_prelu, "kept", {"alpha": making.weights.take("alpha")})


def _softmax(x: Tensor, axes: tuple[int, ...], moved: bool) -> Tensor:
    where = tuple(place(axis, x.dim(), moved) for axis in axes)
    if len(where) == 1:
        return functional.softmax(x, dim=where[0])
    return torch.exp(x - torch.logsumexp(x, where, keepdim=True))


def softmax(making: Making) -> nn.Module:
    """`Softmax`, along one axis or several."""
    axes = making.settings.wholes("axis", -1)
    if making.bare:
        return Layer(partial(_plain, run=linear))
    return Layer(partial(_softmax, axes=axes))


ROWS: dict[str, Row] = {
    "Activation": activation,
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": elu,
    "PReLU": prelu,
    "ThresholdedReLU": thresholded_relu,
    "Softmax": softmax,
}
