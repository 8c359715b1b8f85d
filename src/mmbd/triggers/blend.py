"""Blending: a faint noisy patch is mixed into the image (Chen et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

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
