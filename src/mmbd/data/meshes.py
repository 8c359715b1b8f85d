"""Triangle meshes: a few ways to build them, and points drawn uniformly from their surface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Vector = tuple[float, float, float]
SIDES = 32


@dataclass(frozen=True)
class Mesh:
    """Triangles in space: vertices (v, 3) float32, and faces (f, 3), indices into them."""

    vertices: Tensor
    faces: Tensor

    def __add__(self, other: Mesh) -> Mesh:
        """Both meshes side by side, as one."""
        return Mesh(
            torch.cat((self.vertices, other.vertices)),
            torch.cat((self.faces, other.faces + len(self.vertices))),
        )

    def moved(self, shift: Vector) -> Mesh:
        """This mesh, moved by an offset."""
        return Mesh(self.vertices + torch.tensor(shift), self.faces)

    def stretched(self, matrix: Tensor | Vector) -> Mesh:
        """Every vertex v becomes `matrix` v; three numbers are a factor an axis."""
        if isinstance(matrix, tuple):
            matrix = torch.diag(torch.tensor(matrix))
        return Mesh(self.vertices @ matrix.T, self.faces)


def on_surface(mesh: Mesh, points: int, generator: torch.Generator) -> Tensor:
    """Points drawn uniformly from the surface, (3, points) float32.

    Raises:
        ValueError: the surface has no area.
    """
    corners = mesh.vertices.double()[mesh.faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    reached = torch.linalg.cross(first, second).norm(dim=1).cumsum(0)
    if not len(reached) or not 0 < float(reached[-1]) < math.inf:
        raise ValueError("the mesh has no surface")
    place, u, v = torch.rand(3, points, generator=generator, dtype=torch.float64)
    faces = torch.searchsorted(reached, place * reached[-1], right=True).clamp_max(len(reached) - 1)
    u, v = torch.where(u + v > 1, 1 - u, u)[:, None], torch.where(u + v > 1, 1 - v, v)[:, None]
    return (corners[faces, 0] + u * first[faces] + v * second[faces]).T.float()


def cuboid(size: Vector, centre: Vector = (0.0, 0.0, 0.0)) -> Mesh:
    """A box with edges along the axes."""
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    faces = torch.tensor(
        [
            [0, 1, 3],
            [0, 3, 2],
            [4, 6, 7],
            [4, 7, 5],
            [0, 4, 5],
            [0, 5, 1],
            [2, 3, 7],
            [2, 7, 6],
            [0, 2, 6],
            [0, 6, 4],
            [1, 5, 7],
            [1, 7, 3],
        ]
    )
    return Mesh(corners, faces).stretched(size).moved(centre)


def lathe(profile: Sequence[tuple[float, float]], sides: int = SIDES) -> Mesh:
    """A profile of (radius, height) pairs turned around the vertical axis."""
    radii, heights = torch.tensor(profile).unbind(1)
    angles = torch.linspace(0, 2 * math.pi, sides + 1)
    circle = torch.stack((angles.cos(), angles.sin(), torch.zeros_like(angles)), dim=1)
    axis = torch.tensor([0.0, 0.0, 1.0])
    return sheet(radii[:, None, None] * circle + heights[:, None, None] * axis)


def tube(path: Tensor, radius: float, up: Vector, sides: int = 12) -> Mesh:
    """A round tube along `path` (m, 3); `up` is parallel to the path nowhere."""
    tangents = torch.gradient(path, dim=0)[0]
    across = torch.linalg.cross(tangents, torch.tensor(up).expand_as(tangents))
    across = across / across.norm(dim=1, keepdim=True)
    other = torch.linalg.cross(tangents, across)
    other = other / other.norm(dim=1, keepdim=True)
    angles = torch.linspace(0, 2 * math.pi, sides + 1)[None, :, None]
    ring = angles.cos() * across[:, None] + angles.sin() * other[:, None]
    return sheet(path[:, None] + radius * ring)


def sheet(grid: Tensor) -> Mesh:
    """A grid of vertices (rows, columns, 3) with two triangles between any four neighbours."""
    rows, columns, _ = grid.shape
    corner = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).flatten()
    lower = torch.stack((corner, corner + 1, corner + columns), dim=1)
    upper = torch.stack((corner + 1, corner + columns + 1, corner + columns), dim=1)
    return Mesh(grid.reshape(-1, 3), torch.cat((lower, upper)))


def normalised(cloud: Tensor) -> Tensor:
    """A cloud (3, points), or a batch of them, moved and scaled to fill the unit ball.

    The mean of the points becomes the origin, and the farthest point lies on the unit sphere. A
    cloud that is one point becomes the origin.
    """
    centred = cloud - cloud.mean(-1, keepdim=True)
    radius = torch.linalg.vector_norm(centred, dim=-2, keepdim=True).amax(-1, keepdim=True)
    scaled = centred / radius.clamp_min(torch.finfo(cloud.dtype).tiny)
    return scaled.clamp(-1, 1)  # what rounding adds would lie outside the cube
