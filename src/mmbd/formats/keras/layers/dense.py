"""Layers that multiply by a table of weights: `Dense` and `Embedding`."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from mmbd.formats.keras.layers.activations import after, along_channels
from mmbd.formats.keras.layers.making import Making, Row, limited
from mmbd.formats.keras.values import Layer


def _dense(x: Tensor, kernel: Tensor, bias: Tensor | None, end: str) -> Tensor:
    limited(x.shape[1:-1].numel() * len(kernel), "Dense")
    return along_channels(functional.linear(x, kernel, bias), end, False)


def dense(making: Making) -> nn.Module:
    """`Dense`: along the last axis, whatever the rank."""
    settings, weights = making.settings, making.weights
    units = settings.whole("units")
    kernel = weights.take("kernel", (None, units)).T.contiguous()
    bias = weights.take("bias", (units,)) if settings.flag("use_bias", True) else None
    return Layer(partial(_dense, end=after(making)), "kept", {"kernel": kernel, "bias": bias})


def _embedded(x: Tensor, table: Tensor) -> Tensor:
    limited(x.shape[1:].numel() * table.shape[1], "Embedding")
    return functional.embedding(x.long(), table)


def embedding(making: Making) -> nn.Module:
    """`Embedding`: a row of a table for every whole number; no gradient goes through it."""
    if making.settings.flag("mask_zero", False):
        raise making.settings.refused("masks the steps that are 0")
    size = (making.settings.whole("input_dim"), making.settings.whole("output_dim"))
    return Layer(_embedded, "kept", {"table": making.weights.take("embeddings", size)})


ROWS: dict[str, Row] = {"Dense": dense, "Embedding": embedding}
