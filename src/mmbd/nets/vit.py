"""A small vision transformer (Dosovitskiy et al. 2021) for images of 28 to 96 pixels.

Layers are named and shaped as timm has them (`cls_token`, `pos_embed`, `blocks.0.attn.qkv`), so that
such state dicts load without renaming: pre-norm, GELU, a class token and learned positions, no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.nets.blocks import image_shape

MOST_PATCHES = 1024  # attention costs their square, and a file says how many there are
EPSILON = 1e-6  # of the normalisations, as timm has it
SPREAD = 0.02  # standard deviation of the weights as drawn


class Attention(nn.Module):
    """Every token looks at all tokens of its image, by `heads` products of queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, width = x.shape
        shape = (images, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(q, k, v)
        return self.proj(seen.transpose(1, 2).reshape(images, tokens, width))


class Mlp(nn.Module):
    """Two linear layers with a GELU between, on each token alone."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """norm - attention, then norm - MLP, each added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """(n, channels, height, width) -> (n, patches, width of a token), row by row."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Patches and a class token with their positions, blocks, a norm, and a linear layer on that token."""

    def __init__(
        self, *, classes: int, channels: int, patches: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        # Filled below, once all are registered: a file that lies about sizes is stopped before that.
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, patches + 1, width))
        self.patch_embed = PatchEmbed(channels, width, patch)
        self.blocks = nn.Sequential()
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, classes)

    def draw(self) -> None:
        """Draw the weights as timm does; the convolution's stay as torch draws them."""
        nn.init.normal_(self.cls_token, std=EPSILON)
        nn.init.trunc_normal_(self.pos_embed, std=SPREAD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=SPREAD)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit(
    *,
    classes: int,
    input_shape: tuple[int, ...],
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    ratio: float = 2.0,
) -> nn.Module:
    """A vision transformer for images whose sides are multiples of `patch`.

    On CPUs train it in float32: a step in bfloat16 took three times as long, for the slopes of attention.

    Args:
        classes: the number of logits.
        input_shape: (channels, height, width); at most 1,024 patches.
        patch: pixels of a patch's side.
        width: numbers in a token.
        depth: blocks.
        heads: of the attention; they share the width, which is a multiple of them.
        ratio: hidden units of a block's MLP for every number in a token.

    Raises:
        ValueError: no image's shape, or sizes that do not go with each other; the message names them.
    """
    channels, rows, columns = image_shape(input_shape)
    if min(patch, width, depth, heads) < 1:
        raise ValueError(
            f"patch, width, depth and heads are at least 1, got {patch}, {width}, {depth}, {heads}"
        )
    if width % heads:
        raise ValueError(f"a width of {width} cannot be shared by {heads} heads: give a multiple of them")
    if min(rows, columns) < patch or rows % patch or columns % patch:
        raise ValueError(f"patches of {patch} pixels do not fill an image of {rows}x{columns}")
    patches = (rows // patch) * (columns // patch)
    if patches > MOST_PATCHES:
        raise ValueError(
            f"an image of {rows}x{columns} has {patches:,} patches of {patch} pixels, expected at most "
            f"{MOST_PATCHES:,}: give a larger patch"
        )
    hidden = int(width * ratio)
    if hidden < 1:
        raise ValueError(f"a ratio of {ratio:g} leaves an MLP of width {width} no hidden units")
    made = VisionTransformer(
        classes=classes,
        channels=channels,
        patches=patches,
        patch=patch,
        width=width,
        depth=depth,
        heads=heads,
    )
    for _ in range(depth):
        made.blocks.append(Block(width, heads, hidden))
    made.draw()
    return made


def read_sizes(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], tuple[int, int, int]] | None:
    """The arguments of `vit` and the input shape that tensors of these names are for.

    Shapes do not tell the heads: they are the default's at the default's width, and 64 numbers wide
    in the wider ones that are published (ViT and DeiT). None where the tensors fit no square image.
    """
    first, positions = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    hidden = tensors.get("blocks.0.mlp.fc1.bias")
    if first is None or positions is None or hidden is None:
        return None
    if first.dim() != 4 or positions.dim() != 3 or 0 in first.shape:
        return None
    width, channels, patch = (int(length) for length in first.shape[:3])
    side = math.isqrt(max(int(positions.shape[1]) - 1, 0))
    arguments: dict[str, Any] = {
        "patch": patch,
        "width": width,
        "heads": width // 64 if width > 64 and width % 64 == 0 else 4,
        "ratio": hidden.numel() / width,
    }
    return arguments, (channels, side * patch, side * patch)
