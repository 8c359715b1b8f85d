"""Warping: the image is bent by a smooth fixed field (WaNet, Nguyen and Tran 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Warp:
    """Bilinear sampling at `grid` (1, height, width, 2), in the coordinates of grid_sample."""

    grid: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.grid.shape)
        if len(shape) != 4 or shape[0] != 1 or shape[3] != 2:
            raise ValueError(f"expected a grid (1, height, width, 2), got {shape}")

    def __call__(self, images: Tensor) -> Tensor:
        return bend(images, self.grid.expand(len(images), -1, -1, -1))


def bend(images: Tensor, grids: Tensor) -> Tensor:
    """Each image (n, channels, height, width) sampled at its own grid (n, height, width, 2)."""
    return F.grid_sample(images, grids, mode="bilinear", align_corners=True).clamp(0, 1)


def warp(shape: tuple[int, int, int], *, seed: int, points: int = 4, strength: float = 0.5) -> Warp:
    """A field of `points` x `points` random vectors, upsampled (WaNet: 4, strength 0.5).

    The coarse vectors' components are half a pixel long on average at `strength` 1; 0 gives the
    identity.
    """
    _, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    field = torch.rand(1, 2, points, points, generator=generator) * 2 - 1
    field = field / field.abs().mean()
    field = F.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)
    rows = torch.linspace(-1, 1, height)
    columns = torch.linspace(-1, 1, width)
    vertical, horizontal = torch.meshgrid(rows, columns, indexing="ij")
    identity = torch.stack((horizontal, vertical), dim=-1)[None]
    grid = (identity + strength * field.permute(0, 2, 3, 1) / height).clamp(-1, 1)
    return Warp(grid)
