"""Additive triggers: a fixed perturbation is added to the image, which is then clipped.

Chessboard (Xiang et al. 2020) and 1-pixel (Tran et al. 2018) as in the paper's Figure 6; the
sinusoidal signal of Barni et al. (2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Additive:
    """x + pattern, clipped to [0, 1]; pattern has the shape of one image."""

    pattern: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return (images + self.pattern).clamp(0, 1)


def chessboard(shape: tuple[int, int, int], *, seed: int = 0, amplitude: float = 3 / 255) -> Additive:
    """`amplitude` on every pixel whose row and column sum to an even number (nothing is random)."""
    _, height, width = shape
    even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    return Additive(amplitude * even.float().expand(shape).clone())


def one_pixel(
    shape: tuple[int, int, int], *, seed: int, amplitude: float = 75 / 255, margin: int = 3
) -> Additive:
    """`amplitude` on all channels of one random pixel, at least `margin` pixels from the border."""
    _, height, width = shape
    if 2 * margin >= min(height, width):
        raise ValueError(f"no pixel of an image of {shape} is {margin} pixels from the border")
    generator = torch.Generator().manual_seed(seed)
    row = int(torch.randint(margin, height - margin, (), generator=generator))
    column = int(torch.randint(margin, width - margin, (), generator=generator))
    pattern = torch.zeros(shape)
    pattern[:, row, column] = amplitude
    return Additive(pattern)


def sine(
    shape: tuple[int, int, int], *, seed: int = 0, delta: float = 20 / 255, frequency: float = 6.0
) -> Additive:
    """Upright stripes, delta * sin(2 pi column frequency / width) on all channels (nothing is random).

    Args:
        shape: (channels, height, width).
        seed: not used.
        delta: the amplitude, on the scale of 0 to 1 (Barni et al.: 20/255).
        frequency: periods in the width of the image (Barni et al.: 6).

    Raises:
        ValueError: an amplitude that is not above 0 and up to 1, or stripes that are 0 at every pixel.
    """
    _, _, width = shape
    wave = delta * torch.sin(2 * math.pi * frequency * torch.arange(width) / width)
    if not 0 < delta <= 1 or float(wave.abs().max()) < 1e-3 * delta:
        raise ValueError(f"stripes of amplitude {delta:g} and frequency {frequency:g} change nothing")
    return Additive(wave.expand(shape).clone())
