"""Padding "same" exactly as TensorFlow has it: uneven where the steps do not go up evenly."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor
from torch.nn import functional

from mmbd.formats.keras.layers.making import limited


def same(length: int, kernel: int, step: int, dilation: int) -> tuple[int, int]:
    """How much goes before and after an axis for one result every `step`.

    Example:
        >>> same(8, 3, 2, 1), same(8, 3, 1, 1), same(7, 3, 2, 1)
        ((0, 1), (1, 1), (1, 1))
    """
    total = max((-(-length // step) - 1) * step + (kernel - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """A tensor (n, channels, *places) with so much before and after each of its places."""
    if not any(map(any, pads)):
        return x
    places = [length + sum(pad) for length, pad in zip(x.shape[2:], pads, strict=True)]
    limited(x.shape[1] * prod(places), "padding")
    return functional.pad(x, [each for pad in reversed(pads) for each in pad], value=value)


def around(
    x: Tensor, kernel: Sequence[int], steps: Sequence[int], dilation: Sequence[int], padding: str
) -> list[tuple[int, int]]:
    """What padding, "valid", "same" or "causal", puts around the places of (n, channels, *places)."""
    each = list(zip(x.shape[2:], kernel, steps, dilation, strict=True))
    if padding == "same":
        return [same(*one) for one in each]
    if padding == "causal":
        return [((size - 1) * wide, 0) for _, size, _, wide in each]
    return [(0, 0)] * len(each)
