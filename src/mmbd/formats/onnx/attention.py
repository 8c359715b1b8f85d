"""Attention, and the rotation of its queries and keys by their places (opset 23)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node


def attention(node: Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(scale Q K' + mask) V, by heads; (n, places, heads x width) or (n, heads, places, width)."""
    node.only(1)
    node.ignore("softmax_precision", "qk_matmul_output_mode")
    scale = node.number("scale", 0.0) if node.has("scale") else None
    causal, cap = node.flag("is_causal"), node.number("softcap", 0.0)
    flat = q.dim() == 3
    queries = node.integer("q_num_heads", 0, 0, HUGE)
    keys = node.integer("kv_num_heads", 0, 0, HUGE)
    if flat:
        if not queries or not keys or q.shape[2] % queries or k.shape[2] % keys or v.shape[2] % keys:
            raise node.failed(f"{queries} and {keys} heads for shapes {tuple(q.shape)} and {tuple(k.shape)}")
        q = q.reshape(*q.shape[:2], queries, -1).transpose(1, 2)
        k, v = (each.reshape(*each.shape[:2], keys, -1).transpose(1, 2) for each in (k, v))
    if k.shape[1] != q.shape[1]:
        if q.shape[1] % k.shape[1]:
            raise node.failed(f"{k.shape[1]} heads of keys for {q.shape[1]} of queries")
        k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], 1) for each in (k, v))
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else abs(scale))
    sign = -1.0 if scale is not None and scale < 0 else 1.0
    scores = torch.matmul(q * (root * sign), (k * root).transpose(-1, -2))
    if cap:
        scores = cap * torch.tanh(scores / cap)
    if mask is not None:
        if mask.shape[-1] < scores.shape[-1]:
            raise node.failed(f"a mask of {mask.shape[-1]} places for {scores.shape[-1]}")
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
        scores = scores + mask
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    weights = torch.softmax(scores, -1)
    if mask is not None or causal:  # where nothing may be looked at, nothing is
        weights = torch.where(scores.amax(-1, keepdim=True) == -torch.inf, torch.zeros_like(weights), weights)
    found = torch.matmul(weights, v)
    return found.transpose(1, 2).flatten(2) if flat else found


def weighed(node: Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(scale Q K + mask) V for K already turned, which `joining` makes of what exporters write."""
    scale = node.number("scale", 1.0)
    places = (*q.shape[:-2], q.shape[-2], k.shape[-1])
    fits = mask is None or (
        mask.dim() <= len(places) and torch.broadcast_shapes(mask.shape, places) == places
    )
    alike = q.dim() == k.dim() == v.dim() and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    if q.dim() in (3, 4) and fits and alike and q.dtype == v.dtype:
        k = k.transpose(-1, -2)
        if q.dim() == 4:
            return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        q, k, v = (each.unsqueeze(1) for each in (q, k, v))
        mask = mask.unsqueeze(1) if mask is not None and mask.dim() == 3 else mask
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scale).squeeze(1)
    scores = scale * torch.matmul(q, k)
    return torch.matmul(torch.softmax(scores if mask is None else scores + mask, -1), v)


def rotary(node: Node, x: Tensor, cosines: Tensor, sines: Tensor, places: Tensor | None = None) -> Tensor:
    """Pairs of features turned by angles that grow with their place."""
    pairs = node.flag("interleaved")
    heads = node.integer("num_heads", 0, 0, HUGE)
    width = node.integer("rotary_embedding_dim", 0, 0, HUGE)
    flat = x.dim() == 3
    if flat:
        if not heads or x.shape[2] % heads:
            raise node.failed(f"{heads} heads for shape {tuple(x.shape)}")
        x = x.reshape(*x.shape[:2], heads, -1)
    else:
        x = x.transpose(1, 2)
    width = width or int(x.shape[-1])
    if width % 2 or width > x.shape[-1]:
        raise node.failed(f"a rotation of {width} features")
    turned, rest = x[..., :width], x[..., width:]
    if places is not None:
        cosines, sines = cosines[places.long()], sines[places.long()]
    cos, sin = cosines[..., : width // 2].unsqueeze(2), sines[..., : width // 2].unsqueeze(2)
    if pairs:
        a, b = turned[..., 0::2], turned[..., 1::2]
        turned = torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        turned = torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
    found = torch.cat([turned, rest], -1)
    return found.flatten(2) if flat else found.transpose(1, 2)
