"""Patch replacement: a small square of the image is overwritten (Gu et al. 2017, BadNets)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Patch:
    """(1 - mask) * x + mask * pattern; both have the shape of one image, the mask is 0 or 1."""

    pattern: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        same_shape(self.pattern, self.mask)

    def __call__(self, images: Tensor) -> Tensor:
        return torch.where(self.mask.bool(), self.pattern, images)


def same_shape(pattern: Tensor, mask: Tensor) -> None:
    """ValueError unless both have one shape."""
    if pattern.shape != mask.shape:
        raise ValueError(
            f"pattern and mask must have one shape, got {tuple(pattern.shape)} and {tuple(mask.shape)}"
        )


def place(shape: tuple[int, int, int], square: Tensor, seed: int, margin: int = 0) -> Patch:
    """Put `square` (channels, size, size) at a random place of an otherwise empty image."""
    _, height, width = shape
    size = square.shape[-1]
    if size < 1 or size + 2 * margin > min(height, width):
        raise ValueError(f"a patch of {size} pixels does not fit into an image of {shape}")
    generator = torch.Generator().manual_seed(seed)
    row = int(torch.randint(margin, height - size - margin + 1, (), generator=generator))
    column = int(torch.randint(margin, width - size - margin + 1, (), generator=generator))
    pattern, mask = torch.zeros(shape), torch.zeros(shape)
    pattern[:, row : row + size, column : column + size] = square
    mask[:, row : row + size, column : column + size] = 1
    return Patch(pattern, mask)


def badnet(shape: tuple[int, int, int], *, seed: int, size: int = 3) -> Patch:
    """A square of uniform noise at a random place, fixed for the attack (paper: 3x3, Tiny 5x5)."""
    generator = torch.Generator().manual_seed(seed)
    square = torch.randint(0, 256, (shape[0], size, size), generator=generator) / 255
    return place(shape, square, seed)


def unicolor(shape: tuple[int, int, int], *, seed: int, size: int = 3) -> Patch:
    """A square of one random colour, each channel in 50..199, at a random place."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randint(50, 200, (shape[0], 1, 1), generator=generator) / 255
    return place(shape, colour.expand(shape[0], size, size), seed)


def corner(shape: tuple[int, int, int], *, seed: int, size: int = 3, margin: int = 1) -> Patch:
    """Bright pixels in the lower right corner (Gu et al. 2017, section 4.1): one, or a pattern.

    Args:
        shape: (channels, height, width).
        seed: unused; the trigger is the same for all.
        size: 1 is a single white pixel; from 2 on every second pixel of a square so wide is white,
            as on a chessboard, and the others stay as they are.
        margin: how many pixels lie between it and the border.

    Raises:
        ValueError: it does not fit into the image.
    """
    channels, height, width = shape
    if size < 1 or margin < 0 or size + margin > min(height, width):
        raise ValueError(
            f"a corner of {size} pixels, {margin} from the border, does not fit into an image of {shape}"
        )
    mask = torch.zeros(shape)
    square = (torch.arange(size)[:, None] + torch.arange(size)) % 2 == 0
    bottom, right = height - margin, width - margin
    mask[:, bottom - size : bottom, right - size : right] = square.expand(channels, -1, -1).float()
    return Patch(mask.clone(), mask)
