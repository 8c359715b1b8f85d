"""Layers that prepare images, `Rescaling`, `Resizing`, `CenterCrop`; and `LayerScale`, of ConvNeXt."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.convolution import layout
from mmbd.formats.keras.layers.making import Making, Row, limited, spread
from mmbd.formats.keras.settings import Settings
from mmbd.formats.keras.values import Layer


def _scaled(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    spread(x, scale, offset)
    return x * scale + offset


def rescaling(making: Making) -> nn.Module:
    """`Rescaling`: a factor and a number to add, for all or for each channel."""
    settings = making.settings
    values = dict(settings.values)
    values.setdefault("offset", 0.0)
    both = Settings(settings.kind, settings.name, values)
    scale, offset = (torch.tensor(both.numbers(name)) for name in ("scale", "offset"))
    return Layer(_scaled, "kept", buffers={"scale": scale, "offset": offset})


def _resized(x: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    limited(x.shape[1] * size[0] * size[1], "Resizing")
    if kind == "nearest":
        return functional.interpolate(x, size, mode="nearest-exact")
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


def resizing(making: Making) -> nn.Module:
    """`Resizing`, by bilinear interpolation or to the nearest pixel."""
    settings = making.settings
    kind = settings.values.get("interpolation", "bilinear")
    for name in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if settings.values.get(name):
            raise settings.refused(f"has {name}")
    if kind not in ("nearest", "bilinear"):
        raise settings.refused("resizes by another interpolation than nearest or bilinear")
    size = settings.whole("height"), settings.whole("width")
    return Layer(partial(_resized, size=size, kind=str(kind)), layout(settings))


def _centre(x: Tensor, size: tuple[int, int]) -> Tensor:
    if any(length < wanted for length, wanted in zip(x.shape[2:], size, strict=True)):
        raise Failed(f"CenterCrop to {size} of a smaller image, {tuple(x.shape[2:])}, is not supported")
    for axis, wanted in enumerate(size, 2):
        x = x.narrow(axis, (x.shape[axis] - wanted) // 2, wanted)
    return x


def centre(making: Making) -> nn.Module:
    """`CenterCrop`."""
    size = making.settings.whole("height"), making.settings.whole("width")
    return Layer(partial(_centre, size=size), layout(making.settings))


def _channelwise(x: Tensor, gamma: Tensor) -> Tensor:
    return x * gamma


def layer_scale(making: Making) -> nn.Module:
    """`LayerScale` of the networks that come with Keras: a learnt factor a channel."""
    size = making.settings.whole("projection_dim")
    return Layer(_channelwise, "kept", {"gamma": making.weights.take("gamma", (size,))})


ROWS: dict[str, Row] = {
    "Rescaling": rescaling,
    "Resizing": resizing,
    "CenterCrop": centre,
    "LayerScale": layer_scale,
}
