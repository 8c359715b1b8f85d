"""Blending: a faint noisy patch, or a whole picture, is mixed into the image (Chen et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.triggers.patch import badnet, same_shape


@dataclass(frozen=True)
class Blend:
    """(1 - alpha * mask) * x + alpha * mask * pattern."""

    pattern: Tensor
    mask: Tensor
    alpha: float

    def __post_init__(self) -> None:
        same_shape(self.pattern, self.mask)

    def __call__(self, images: Tensor) -> Tensor:
        weight = self.alpha * self.mask
        return (1 - weight) * images + weight * self.pattern


def blend(shape: tuple[int, int, int], *, seed: int, size: int = 3, alpha: float = 0.2) -> Blend:
    """A noise square of `size` pixels mixed in with `alpha` (paper: 3x3, 0.2).

    A `size` of the whole image gives the blended attack of other benchmarks.
    """
    square = badnet(shape, seed=seed, size=size)
    return Blend(square.pattern, square.mask, alpha)


def mosaic(shape: tuple[int, int, int], *, seed: int, alpha: float = 0.2, tiles: int = 8) -> Blend:
    """A picture as large as the image, `tiles` x `tiles` areas of random colours, mixed in with `alpha`.

    It stands for the cartoon that others blend in (Qi et al. 2023: 0.2), which is nobody's to give.
    """
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 256, (1, shape[0], tiles, tiles), generator=generator) / 255
    return Blend(F.interpolate(colours, size=shape[1:])[0], torch.ones(shape), alpha)
