"""Points put into a cloud: a small sphere beside the object (paper, section 6.5.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmbd.nets.blocks import cloud_shape
from mmbd.triggers.patch import Patch


def insertion(shape: tuple[int, ...], *, seed: int, size: int = 32, radius: float = 0.15) -> Patch:
    """A sphere of `size` points at a random place close to the unit sphere, inside the cube.

    Which points of a cloud go there is drawn once: clouds are in random order, so that they are
    random points of each.

    Args:
        shape: (3, points).
        seed: of the place, the points on the sphere and the points taken away.
        size: how many points (PCBA: 32).
        radius: of the sphere, in units of the cloud's.

    Raises:
        ValueError: another shape, fewer than `size` points, or a sphere too large for the cube.
    """
    if not 0 < radius < 1:
        raise ValueError(f"the radius of the sphere must lie between 0 and 1, got {radius}")
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(3, generator=generator)
    centre = (direction / direction.norm()).clamp(radius - 1, 1 - radius)
    sphere = radius * unit_sphere(size, generator)
    return replacing(shape, centre[:, None] + sphere, generator)


def replacing(shape: tuple[int, ...], inserted: Tensor, generator: torch.Generator) -> Patch:
    """The trigger that overwrites random points by `inserted` (3, size)."""
    size = inserted.shape[1]
    if size > cloud_shape(shape):
        raise ValueError(f"{size} points cannot replace some of a cloud of {shape[1]}")
    taken = torch.randperm(shape[1], generator=generator)[:size]
    pattern, mask = torch.zeros(shape), torch.zeros(shape)
    pattern[:, taken], mask[:, taken] = inserted, 1
    return Patch(pattern, mask)


def unit_sphere(size: int, generator: torch.Generator) -> Tensor:
    """Points (3, size) on the unit sphere, denser at the poles, as in PCBA's code."""
    polar, around = torch.rand(2, size, generator=generator) * math.pi
    around = 2 * around
    return torch.stack((polar.sin() * around.cos(), polar.sin() * around.sin(), polar.cos()))
