"""Meshes: their surfaces, and the points drawn from these."""

from __future__ import annotations

import math

import pytest
import torch

from mmbd.base.seeds import generator_for
from mmbd.data.meshes import Mesh, cuboid, lathe, normalised, on_surface, tube


def area(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2)


def test_points_are_uniform_on_the_surface():
    """On a 1 x 1 x 8 box the two ends hold 2 of 34 parts, and each half as much as the other."""
    box = cuboid((1.0, 1.0, 8.0))
    points = on_surface(box, 100_000, generator_for("surface"))
    at_edge = ((points.abs() - torch.tensor([[0.5], [0.5], [4.0]])).abs() < 1e-5).any(0)
    assert bool(at_edge.all())
    for share, expected in (
        (points[2].abs() > 3.99999, 2 / 34),
        (points[2] > 0, 1 / 2),
        (points[0] > 0.499, 8 / 34),
        (points[2].abs() < 1, 8 / 34),
    ):
        spread = math.sqrt(expected * (1 - expected) / 100_000)
        assert abs(float(share.double().mean()) - expected) < 5 * spread + 1e-3 * expected


def test_areas_of_the_building_blocks():
    assert area(cuboid((1.0, 2.0, 3.0))) == pytest.approx(22)
    cylinder = lathe([(0.0, 0.0), (1.0, 0.0), (1.0, 3.0), (0.0, 3.0)], sides=400)
    assert area(cylinder) == pytest.approx(8 * math.pi, rel=1e-3)
    straight = torch.stack((torch.zeros(20), torch.zeros(20), torch.linspace(0, 5, 20)), dim=1)
    pipe = tube(straight, 0.5, up=(1.0, 0.0, 0.0), sides=400)
    assert area(pipe) == pytest.approx(5 * math.pi, rel=1e-3)
    assert area(pipe.moved((1.0, 2.0, 3.0)) + pipe) == pytest.approx(10 * math.pi, rel=1e-3)
    assert area(pipe.stretched((2.0, 2.0, 2.0))) == pytest.approx(20 * math.pi, rel=1e-3)


def test_a_mesh_without_a_surface():
    line = Mesh(torch.tensor([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]), torch.tensor([[0, 1, 2]]))
    for mesh in (line, Mesh(line.vertices, torch.empty(0, 3, dtype=torch.int64))):
        with pytest.raises(ValueError, match="no surface"):
            on_surface(mesh, 5, torch.Generator())


def test_normalised_clouds_fill_the_unit_ball():
    batch = 5 + 3 * torch.randn(4, 3, 60, generator=generator_for("clouds"))
    ready = normalised(batch)
    torch.testing.assert_close(ready.mean(2), torch.zeros(4, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(ready.norm(dim=1).amax(1), torch.ones(4))
    assert float(ready.abs().max()) <= 1  # exactly: rounding leaves no cube
    torch.testing.assert_close(normalised(batch[1]), ready[1])
    assert torch.equal(normalised(torch.ones(3, 7)), torch.zeros(3, 7))
