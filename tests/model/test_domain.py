"""Boxes: sampling, projection and bounds; and the random generators behind every start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbd.base.seeds import generator_for
from mmbd.model.domain import KINDS, Box, Domain, elements, kind_of
from mmbd.model.points import Points

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
lows = st.floats(-100, 100, width=32)
widths = st.floats(0.125, 100, width=32)


@given(shape=shapes, low=lows, width=widths, seed=st.integers(0, 1000))
def test_samples_and_projections_lie_in_the_box(shape, low, width, seed):
    box = Box(shape, low, low + width)
    assert isinstance(box, Domain)
    generator = generator_for("test", seed)
    point = box.sample(generator)
    assert point.shape == shape
    assert bool(((point >= box.low) & (point <= box.high)).all())
    far = 300 * torch.randn((3, *shape), generator=generator)
    projected = box.project_(far.clone())
    assert bool(((projected >= box.low) & (projected <= box.high)).all())
    assert torch.equal(box.project_(projected.clone()), projected)
    inside = (far >= box.low) & (far <= box.high)
    assert torch.equal(projected[inside], far[inside])  # the nearest point of the box
    assert bool(((projected == box.low) | (projected == box.high) | inside).all())


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((5,), "vector"), ((1, 80), "sound"), ((3, 80), "sound"), ((3, 8, 8), "image"), ((1, 4, 4, 4), "array")],
)
def test_the_kind_of_a_box_follows_from_its_axes(shape, kind):
    assert kind_of(Box(shape)) == Box(shape).kind == kind
    assert kind in KINDS


def test_a_domain_says_its_kind_or_is_taken_by_its_shape():
    class Silent:
        shape = (3, 8, 8)

    class Telling(Silent):
        kind = "spectrogram"

    assert kind_of(Silent()) == "image"
    assert kind_of(Telling()) == "spectrogram"
    assert kind_of(Points(16)) == "points"


def test_samples_are_uniform():
    points = Box((100_000,), -1.0, 3.0).sample(generator_for("uniform"))
    counts = torch.histc(points, bins=8, min=-1, max=3)
    # Binomial(100000, 1/8): standard deviation 105; five of them.
    assert bool(((counts - 12_500).abs() < 525).all())


def test_projection_is_in_place():
    x = torch.tensor([[-1.0, 0.5, 2.0]])
    assert Box((3,)).project_(x) is x
    assert x.tolist() == [[0.0, 0.5, 1.0]]


def test_bounds_per_channel_and_per_element():
    low, high = (0.0, -1.0, 10.0), (1.0, 1.0, 20.0)
    box = Box((3, 2, 2), low, high)
    assert box.extent.flatten().tolist() == [1.0, 2.0, 10.0]
    point = box.sample(generator_for(0))
    for channel in range(3):
        assert bool((point[channel] >= low[channel]).all())
        assert bool((point[channel] <= high[channel]).all())
    projected = box.project_(torch.full((5, 3, 2, 2), 99.0))
    assert torch.equal(projected[4], torch.tensor(high)[:, None, None].expand(3, 2, 2))
    per_element = Box((2, 2), torch.tensor([[0.0, 1.0], [2.0, 3.0]]), 4.0)
    assert per_element.project_(torch.zeros(1, 2, 2)).tolist() == [[[0.0, 1.0], [2.0, 3.0]]]
    flat = Box((3,), low, high)
    assert flat.project_(torch.zeros(1, 3)).tolist() == [[0.0, 0.0, 10.0]]


def test_the_first_axis_is_the_channel():
    # Three values on a 3x3x3 input could mean any axis; they mean the channels.
    box = Box((3, 3, 3), (0.0, 1.0, 2.0), 5.0)
    assert box.low.shape == (3, 1, 1)
    assert Box((1, 8000), -1.0, 1.0).sample(generator_for(0)).shape == (1, 8000)


@pytest.mark.parametrize(
    ("shape", "low", "high", "message"),
    [
        ((), 0, 1, "positive lengths"),
        ((3, 0, 2), 0, 1, "positive lengths"),
        ((3,), 1, 1, "low < high"),
        ((3,), 2, 1, "low < high"),
        ((2, 2), (0, 1), (1, 1), "low < high"),
        ((3,), float("nan"), 1, "finite"),
        ((3,), 0, float("inf"), "finite"),
        ((3, 4, 4), (0, 0), 1, "does not broadcast"),
        ((3, 4, 4), torch.zeros(2, 3, 4, 4), 1, "does not broadcast"),
    ],
)
def test_wrong_boxes_are_refused(shape, low, high, message):
    with pytest.raises(ValueError, match=message):
        Box(shape, low, high)


def test_repr_shows_shape_and_bounds():
    assert repr(Box((3, 2, 2))) == "Box((3, 2, 2), low=0, high=1)"
    assert repr(Box((2,), (0.0, -1.5), 1)) == "Box((2,), low=-1.5..0, high=1)"


def test_elements_counts_numbers():
    assert elements(Box((3, 32, 32))) == 3072


def test_generators_depend_on_the_key_alone():
    draw = torch.rand(4, generator=generator_for("start", 0, 1))
    torch.manual_seed(123)
    torch.rand(10)
    assert torch.equal(torch.rand(4, generator=generator_for("start", 0, 1)), draw)
    others = [("start", 1, 0), ("start", 0, 2), ("probe", 0, 1), ("start", 0), ("start", "0", 1)]
    for key in others:
        assert not torch.equal(torch.rand(4, generator=generator_for(*key)), draw), key
    # A seed from NumPy is the same seed.
    assert torch.equal(torch.rand(4, generator=generator_for("start", np.int64(0), 1)), draw)
