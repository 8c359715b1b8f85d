"""The domain of point clouds: n points in space, each in a cube or a ball around the origin.

Clouds are normalised into the unit ball, as ModelNet40's are. The cube around it is the default
region, because a point-cloud backdoor inserts its points beside the object (paper, section 6.5.2),
and because a network takes them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor

from mmbd.model.domain import Bound, Box, Domain

Region = Literal["cube", "ball"]


class Points:
    """All clouds of `points` points, of shape (3, points), with every point in the region.

    Args:
        points: how many points a cloud has.
        region: "cube" for coordinates in [-radius, radius], "ball" for points at most `radius`
            from the origin.
        radius: the size of the region.

    Raises:
        ValueError: no points, another region, or a radius that is not positive and finite.

    Example:
        >>> tuple(Points(256).sample(torch.Generator()).shape)
        (3, 256)
    """

    def __init__(self, points: int = 1024, *, region: Region = "cube", radius: float = 1.0) -> None:
        if points < 1:
            raise ValueError(f"a cloud needs at least one point, got {points}")
        if region not in ("cube", "ball"):
            raise ValueError(f"unknown region {region!r}; known: cube, ball")
        if not 0 < radius < float("inf"):
            raise ValueError(f"radius must be positive and finite, got {radius}")
        self.points = int(points)
        self.region: Region = region
        self.radius = float(radius)

    kind = "points"

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.points

    @property
    def extent(self) -> Tensor:
        return torch.tensor(2 * self.radius)

    @property
    def bounds(self) -> tuple[float, float] | None:
        return -self.radius, self.radius

    def sample(self, generator: torch.Generator) -> Tensor:
        if self.region == "cube":
            return self.radius * (2 * torch.rand(self.shape, generator=generator) - 1)
        directions = torch.randn(self.shape, generator=generator)
        directions /= directions.norm(dim=0)
        # The volume within r grows as r cubed.
        return self.radius * directions * torch.rand(self.points, generator=generator) ** (1 / 3)

    def project_(self, inputs: Tensor) -> Tensor:
        if self.region == "cube":
            return inputs.clamp_(-self.radius, self.radius)
        norms = torch.linalg.vector_norm(inputs, dim=-2, keepdim=True)
        return inputs.div_((norms / self.radius).clamp_min(1))

    def __repr__(self) -> str:
        return f"Points({self.points}, region={self.region!r}, radius={self.radius:g})"


def domain_for(kind: str, shape: Sequence[int], bounds: tuple[Bound, Bound]) -> Domain:
    """The domain that a model file's words describe.

    Args:
        kind: "box", or the region of a point cloud, "cube" or "ball".
        shape: of one input; (3, points) for a cloud.
        bounds: the lowest and the highest element; minus and plus the radius for a cloud.

    Raises:
        ValueError: another kind, or shape and bounds that do not fit it.
    """
    low, high = bounds
    if kind == "box":
        return Box(shape, low, high)
    if len(shape) != 2 or shape[0] != 3:
        raise ValueError(f"a point cloud's shape is (3, points), got {tuple(shape)}")
    ends: list[Any] = [torch.as_tensor(bound) for bound in (low, high)]
    if any(end.numel() != 1 for end in ends) or float(ends[0]) != -float(ends[1]):
        raise ValueError(f"a point cloud's bounds are -radius and radius, got {low} and {high}")
    return Points(shape[1], region=cast(Region, kind), radius=float(ends[1]))
