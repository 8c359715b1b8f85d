"""Attention: `MultiHeadAttention`, and `Attention` with dot products."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.making import Making, Row, limited
from mmbd.formats.keras.values import Layer

PARTS = ("query", "key", "value")


def _heads(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """(n, places, features) -> (n, heads, places, size)."""
    found = torch.einsum("npf,fhs->nhps", x, kernel)
    return found if bias is None else found + bias[:, None]


def _multi_head(
    query: Tensor, value: Tensor, key: Tensor | None = None, *, causal: bool, **weights: Any
) -> Tensor:
    key = value if key is None else key
    if {query.dim(), value.dim(), key.dim()} != {3}:
        raise Failed("a MultiHeadAttention layer takes (places, features) here, and gets other inputs")
    limited(query.shape[1] * key.shape[1] * len(weights["query_kernel"][0]), "MultiHeadAttention")
    held = {"query": query, "key": key, "value": value}
    q, k, v = (_heads(held[name], weights[f"{name}_kernel"], weights[f"{name}_bias"]) for name in PARTS)
    found = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    output = torch.einsum("nhps,hsf->npf", found, weights["output_kernel"])
    bias = weights["output_bias"]
    return output if bias is None else output + bias


def multi_head(making: Making) -> nn.Module:
    """`MultiHeadAttention` over the places of (places, features), causal or not."""
    settings, weights = making.settings, making.weights
    heads, size = settings.whole("num_heads"), settings.whole("key_dim")
    sizes = {"query": size, "key": size, "value": settings.whole("value_dim", size)}
    calls = making.calls
    for name in ("query_mask", "value_mask", "key_mask", "attention_mask", "return_attention_scores"):
        if calls.get(name):
            raise settings.refused(f"is called with {name}")
    if settings.has("attention_axes") and settings.wholes("attention_axes") != (1,):
        raise settings.refused("attends along other axes than the second")
    if settings.flag("use_gate", False) or settings.has("num_key_value_heads"):
        raise settings.refused("has gates or grouped heads")
    tensors: dict[str, Tensor | None] = {}
    use_bias = settings.flag("use_bias", True)
    for name in PARTS:
        part = weights.part(f"{name}_dense", f"_{name}_dense", name)
        tensors[f"{name}_kernel"] = part.take("kernel", (None, heads, sizes[name]))
        tensors[f"{name}_bias"] = part.take("bias", (heads, sizes[name])) if use_bias else None
    part = weights.part("output_dense", "_output_dense", "attention_output")
    tensors["output_kernel"] = part.take("kernel", (heads, sizes["value"], None))
    tensors["output_bias"] = part.take("bias", (None,)) if use_bias else None
    return Layer(partial(_multi_head, causal=calls.get("use_causal_mask") is True), "kept", tensors)


def _attention(
    query: Tensor, value: Tensor, key: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    limited(query.shape[1] * value.shape[1], "Attention")
    scores = torch.bmm(query, (value if key is None else key).transpose(1, 2))
    scores = scores if scale is None else scores * scale
    return torch.bmm(functional.softmax(scores, dim=-1), value)


def attention(making: Making) -> nn.Module:
    """`Attention`: softmax of dot products, from the query, the value and the key."""
    settings = making.settings
    if settings.values.get("score_mode", "dot") != "dot" or any(
        map(making.calls.get, ("mask", "use_causal_mask"))
    ):
        raise settings.refused("is called with a mask, or does not score by dot products")
    scale = making.weights.take("scale") if settings.flag("use_scale", False) else None
    return Layer(_attention, "kept", {"scale": scale})


ROWS: dict[str, Row] = {"MultiHeadAttention": multi_head, "Attention": attention}
