"""Labelled point clouds, generated from parametric objects.

Clouds are float32 (n, 3, points), each centred on the mean of its points and scaled until the
farthest lies on the unit sphere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.data.dataset import Dataset
from mmbd.data.meshes import normalised, on_surface
from mmbd.data.solids import SOLIDS


def generate(
    count: int,
    *,
    classes: Sequence[str] = tuple(SOLIDS),
    points: int = 1024,
    noise: float = 0.01,
    seed: int = 0,
) -> Dataset:
    """A data set of generated clouds: solids, furniture and other things, see `clouds.solids`.

    Every object gets proportions of its own, a factor from 0.8 to 1.25 on each axis, and a random
    pose about the vertical axis, the third. Its points are drawn uniformly from its surface and
    shifted by normal noise. Cloud i of a class depends on (seed, class, i) alone, so that a larger
    set starts with a smaller one's clouds; two seeds make a training and a test set.

    Args:
        count: how many clouds a class.
        classes: names in SOLIDS, in the order of their labels.
        points: how many points a cloud.
        noise: the standard deviation of the noise, in units of the cloud's radius.
        seed: of everything.

    Raises:
        ValueError: no such class, no clouds, or no points.
    """
    unknown = sorted(set(classes) - set(SOLIDS))
    if unknown:
        raise ValueError(f"unknown class {unknown[0]!r}; known: {', '.join(SOLIDS)}")
    if count < 1 or points < 1 or not classes:
        raise ValueError(
            f"expected at least one cloud, point and class, got count={count}, points={points} "
            f"and {len(classes)} classes"
        )
    inputs = [
        _cloud(name, points, noise, generator_for("cloud", seed, name, number))
        for name in classes
        for number in range(count)
    ]
    labels = torch.arange(len(classes)).repeat_interleave(count)
    return Dataset(torch.stack(inputs), labels, tuple(classes))


def _cloud(name: str, points: int, noise: float, generator: torch.Generator) -> Tensor:
    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    mesh = SOLIDS[name](draw).stretched((draw(0.8, 1.25), draw(0.8, 1.25), draw(0.8, 1.25)))
    angle = draw(0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = mesh.stretched(torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))
    cloud = normalised(on_surface(turned, points, generator))
    return normalised(cloud + noise * torch.randn(cloud.shape, generator=generator))
