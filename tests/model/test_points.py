"""The point-cloud domain: where its points lie, and how a model file describes it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mmbd
from mmbd.base.seeds import generator_for
from mmbd.model.domain import Box, Domain
from mmbd.model.points import Points, domain_for

regions = st.sampled_from(["cube", "ball"])
radii = st.floats(0.125, 100, width=32)


def size(cloud: torch.Tensor, region: str) -> torch.Tensor:
    """How far out each point lies, in the region's own measure."""
    return cloud.abs().amax(-2) if region == "cube" else cloud.norm(dim=-2)


@given(region=regions, radius=radii, points=st.integers(1, 50), seed=st.integers(0, 1000))
def test_samples_and_projections_lie_in_the_region(region, radius, points, seed):
    domain = Points(points, region=region, radius=radius)
    assert isinstance(domain, Domain)
    generator = generator_for("test", seed)
    cloud = domain.sample(generator)
    assert cloud.shape == domain.shape == (3, points)
    assert bool((size(cloud, region) <= radius * (1 + 1e-6)).all())
    far = 2 * radius * torch.randn(4, 3, points, generator=generator)
    projected = domain.project_(far.clone())
    assert bool((size(projected, region) <= radius * (1 + 1e-6)).all())
    inside = (size(far, region) <= radius)[:, None].expand_as(far)
    assert torch.equal(projected[inside], far[inside])
    torch.testing.assert_close(domain.project_(projected.clone()), projected)


def test_projection_goes_to_the_nearest_point_in_place():
    cloud = torch.tensor([[3.0, 0.5], [0.0, 0.5], [4.0, 0.5]])[None]
    x = cloud.clone()
    assert Points(2).project_(x) is x
    assert x.tolist() == [[[1.0, 0.5], [0.0, 0.5], [1.0, 0.5]]]
    x = cloud.clone()
    assert Points(2, region="ball", radius=2.5).project_(x) is x
    torch.testing.assert_close(x, torch.tensor([[[1.5, 0.5], [0.0, 0.5], [2.0, 0.5]]]))
    origin = torch.zeros(1, 3, 2)
    assert torch.equal(Points(2, region="ball").project_(origin.clone()), origin)


@pytest.mark.parametrize("region", ["cube", "ball"])
def test_samples_are_uniform(region):
    cloud = Points(100_000, region=region, radius=2.0).sample(generator_for("uniform"))
    # An eighth of the volume lies within half the size, and in each octant.
    inner = size(cloud, region) < 1
    octant = (cloud > 0).all(0)
    for share in (inner, octant):  # binomial: standard deviation 105; five of them
        assert abs(int(share.sum()) - 12_500) < 525


def test_extent_bounds_and_repr():
    ball = Points(256, region="ball", radius=1.5)
    assert float(ball.extent) == 3.0
    assert ball.bounds == (-1.5, 1.5)
    assert repr(ball) == "Points(256, region='ball', radius=1.5)"
    assert repr(mmbd.Points()) == "Points(1024, region='cube', radius=1)"


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (0, {}, "at least one point, got 0"),
        (8, {"region": "sphere"}, "unknown region 'sphere'; known: cube, ball"),
        (8, {"radius": 0.0}, "positive and finite, got 0"),
        (8, {"radius": float("inf")}, "positive and finite"),
        (8, {"radius": float("nan")}, "positive and finite"),
    ],
)
def test_what_is_no_domain(points, options, message):
    with pytest.raises(ValueError, match=message):
        Points(points, **options)


def test_a_files_words_make_a_domain():
    assert isinstance(domain_for("box", (3, 8, 8), (0.0, 1.0)), Box)
    ball = domain_for("ball", (3, 64), (-2.0, 2.0))
    assert repr(ball) == "Points(64, region='ball', radius=2)"
    assert repr(domain_for("cube", (3, 5), (torch.tensor(-1.0), [1.0]))) == (
        "Points(5, region='cube', radius=1)"
    )


@pytest.mark.parametrize(
    ("kind", "shape", "bounds", "message"),
    [
        ("torus", (3, 64), (-1.0, 1.0), "unknown region 'torus'"),
        ("cube", (64, 3), (-1.0, 1.0), r"is \(3, points\), got \(64, 3\)"),
        ("ball", (3, 8, 8), (-1.0, 1.0), r"is \(3, points\)"),
        ("ball", (3, 64), (0.0, 1.0), "-radius and radius, got 0.0 and 1.0"),
        ("cube", (3, 64), ([-1.0, -1.0, -2.0], [1.0, 1.0, 2.0]), "-radius and radius"),
    ],
)
def test_words_that_contradict_each_other(kind, shape, bounds, message):
    with pytest.raises(ValueError, match=message):
        domain_for(kind, shape, bounds)


def test_a_search_stays_in_the_ball_and_climbs_out_to_its_surface():
    """The largest margin of a linear model over a ball of points is known."""
    weight = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    model = torch.nn.Linear(3, 3, bias=False)
    model.weight.data = weight
    classifier = mmbd.Classifier(lambda x: model(x.sum(2)), domain=Points(4, region="ball", radius=2.0))
    margins = mmbd.search.maximum_margins.maximum_margins(classifier, steps=100, classes=[0])
    # All four points in one direction: against class 1, 4 points x radius 2 x |(3, 0, 4)|; there
    # the third class lies further behind.
    assert float(margins.statistics[0]) == pytest.approx(40.0, rel=1e-3)
    found = margins.inputs[0]
    torch.testing.assert_close(found.norm(dim=0), torch.full((4,), 2.0))
