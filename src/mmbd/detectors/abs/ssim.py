"""Structural similarity of images (Wang et al. 2004, "Image quality assessment")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE, SIGMA = 11, 1.5  # of the window
K1, K2 = 0.01, 0.03


def ssim(one: Tensor, other: Tensor, extent: float) -> Tensor:
    """(n,): how alike images (n, channels, height, width) are, at most 1, differentiable.

    Args:
        one: in any unit.
        other: in the same.
        extent: how far a pixel can range.
    """
    first, second = (K1 * extent) ** 2, (K2 * extent) ** 2
    a, b, squares, product = blurred(
        torch.stack((one, other, one.square() + other.square(), one * other))
    ).unbind()
    means, both = a.square() + b.square(), a * b
    light = (2 * both + first) / (means + first)
    structure = (2 * (product - both) + second) / (squares - means + second)
    return (light * structure).flatten(1).mean(1)


def blurred(images: Tensor) -> Tensor:
    """Weighted means in a window around each pixel (..., height, width) whose window fits."""
    down, across = (_windows(length).to(images) for length in images.shape[-2:])
    return down @ images @ across.T  # for small images faster than convolutions


def _windows(length: int) -> Tensor:
    """(places, length): the window at every place where it fits."""
    size = min(SIZE, length)
    weights = torch.exp(-(torch.arange(size) - (size - 1) / 2).square() / (2 * SIGMA**2))
    weights /= weights.sum()
    places = length - size + 1
    return torch.stack([F.pad(weights, (i, places - 1 - i)) for i in range(places)])
