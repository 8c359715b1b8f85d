"""Point clouds as pictures: where a point is drawn, which points are paler, and how many."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from mmbd.render.pictures import picture


def marks(cloud: torch.Tensor, large: bool = False) -> dict[str, list[tuple[float, float]]]:
    """The drawn points by their class, from the left and from above."""
    svg = ElementTree.fromstring(picture(cloud, (-1.0, 1.0), "a <cloud>", large).drawing)
    assert svg.get("aria-label") == "a <cloud>"
    return {
        path.get("class", ""): [
            (float(x), float(y)) for x, y in re.findall(r"M(\S+) (\S+)h0", path.get("d", ""))
        ]
        for path in svg.iter("path")
    }


def test_a_cloud_is_drawn_in_its_cube():
    drawn = picture(torch.zeros(3, 5), (-1.0, 1.0), "x")
    assert drawn.kind == "cloud"
    svg = ElementTree.fromstring(drawn.drawing)
    assert len(list(svg.iter("line"))) == 12
    assert (svg.get("width"), svg.get("height")) == ("150", "150")
    ends = [float(line.get(key, "")) for line in svg.iter("line") for key in ("x1", "y1", "y2")]
    assert 1 < min(ends) < 3
    assert 147 < max(ends) < 149
    assert all(point == (75, 75) for point in marks(torch.zeros(3, 5))["cloud"])


def test_points_are_where_they_belong_and_the_farther_half_is_paler():
    """Turned by 30 degrees and seen from 25 above; a unit is 99.8 pixels, and 150 the middle."""
    axes = torch.eye(3)
    found = marks(torch.cat((axes, -axes), dim=1), large=True)
    assert found["cloud far"] == [(236.4, 128.9), (100.1, 113.5), (150.0, 240.4)]
    assert found["cloud"] == [(150.0, 59.6), (63.6, 171.1), (199.9, 186.5)]


@pytest.mark.parametrize(("large", "count"), [(False, 512), (True, 1500)])
def test_small_pictures_show_some_of_the_points(large, count):
    cloud = 2 * torch.rand(3, 1500, generator=torch.Generator().manual_seed(0)) - 1
    found = marks(cloud, large)
    assert sum(map(len, found.values())) == count
    size = 300 if large else 150
    assert all(0 <= x <= size and 0 <= y <= size for points in found.values() for x, y in points)


def test_values_outside_and_not_finite_stay_in_the_picture():
    cloud = torch.tensor([[torch.nan, 9.0], [torch.inf, -9.0], [0.0, 9.0]])
    assert all(0 <= value <= 150 for points in marks(cloud).values() for p in points for value in p)
