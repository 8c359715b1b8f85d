"""Fewer levels: every channel of the image is rounded to a few values (BppAttack, Wang et al. 2022).

With dithering the rounding error goes to pixels that are still to come, as in Floyd and Steinberg
(1976), so that flat areas get a fine grain instead of the contours that rounding alone draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Of the error of a pixel: how much goes where, as columns to the right and rows down, in sixteenths.
SPREAD = ((1, 0, 7), (-1, 1, 3), (0, 1, 5), (1, 1, 1))


@dataclass(frozen=True)
class Quantised:
    """Every value is one of `levels` evenly spaced ones from 0 to 1.

    Args:
        levels: 2 to 256; 256 leaves an 8-bit image as it is.
        dithering: how much of a rounding error later pixels get, from 0 (none, plain rounding) to
            1 (Floyd and Steinberg).

    Raises:
        ValueError: anything else.
    """

    levels: int
    dithering: float = 1.0

    def __post_init__(self) -> None:
        if self.levels != round(self.levels) or not 2 <= self.levels <= 256:
            raise ValueError(f"expected 2 to 256 levels, got {self.levels:g}")
        if not 0 <= self.dithering <= 1:
            raise ValueError(f"the dithering must lie in 0 to 1, got {self.dithering:g}")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """`images` (n, channels, height, width) in [0, 1], of few levels."""
        if not self.dithering:
            return _rounded(images, self.levels)
        return _dithered(images, self.levels, self.dithering)


def quantised(shape: tuple[int, ...], *, seed: int = 0, levels: int = 8, dithering: float = 1.0) -> Quantised:
    """The same for all images (nothing is random): `levels` 8 is the authors' `squeeze_num`.

    The paper dithers; the authors' script and BackdoorBench leave it off unless they are told to.
    """
    return Quantised(levels, dithering)


def _rounded(values: Tensor, levels: int) -> Tensor:
    return (values * (levels - 1)).round().clamp(0, levels - 1) / (levels - 1)


def _dithered(images: Tensor, levels: int, share: float) -> Tensor:
    """Errors pass from pixel to pixel, so rows lie slanted here: what shares a slice can go at once.

    Row y starts 2 y slices late. Then all that a pixel waits for, its left neighbour and three of
    the row above, lies in earlier slices, and `height` pixels of all images are rounded together.
    In NumPy, which does such short steps several times as fast.
    """
    count, channels, height, width = images.shape
    rows = np.broadcast_to(np.arange(height), (width, height))
    slices = np.arange(width)[:, None] + 2 * rows
    slanted = np.zeros((width + 2 * height + 1, count * channels, height), np.float32)
    inside = np.zeros((width + 2 * height + 1, height), np.float32)
    pixels = images.float().cpu().permute(3, 2, 0, 1).reshape(width, height, count * channels)
    slanted[slices, :, rows] = pixels.numpy()
    inside[slices, rows] = share / 16  # errors that leave the image are lost
    steps = np.float32(levels - 1)
    for place in range(width + 2 * (height - 1)):
        rounded = (slanted[place] * steps).round().clip(0, steps) / steps
        errors = (slanted[place] - rounded) * inside[place]
        slanted[place] = rounded
        for right, down, part in SPREAD:
            slanted[place + right + 2 * down, :, down:] += np.float32(part) * errors[:, : height - down]
    flat = torch.from_numpy(slanted[slices, :, rows]).reshape(width, height, count, channels)
    return flat.permute(2, 3, 1, 0).contiguous().to(images)
