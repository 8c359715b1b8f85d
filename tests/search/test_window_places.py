"""Windows of every domain: they cover it, stay in it, and change nothing else."""

from __future__ import annotations

import pytest
import torch

from mmbd.model.domain import Box, Domain
from mmbd.model.points import Points
from mmbd.search.window_places import BALL_RADIUS, Windows, windows_of

DOMAINS: dict[str, Domain] = {
    "image": Box((3, 32, 32), (0.0, -1.0, 2.0), (1.0, 1.0, 3.0)),
    "large": Box((3, 224, 200), 0, 255),
    "sound": Box((2, 8000), -1, 1),
    "vector": Box((30,), -1, 1),
    "volume": Box((1, 8, 9, 10)),
    "cube": Points(256),
    "ball": Points(256, region="ball", radius=2.0),
}


def some(windows: Windows, domain: Domain, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.stack([domain.sample(generator) for _ in range(count)])
    which = torch.randint(0, len(windows), (count,), generator=generator)
    return inputs, which, windows.high[which]


@pytest.mark.parametrize("name", DOMAINS)
def test_what_is_stamped_is_there_and_nothing_else_changes(name):
    domain = DOMAINS[name]
    windows = windows_of(domain)
    inputs, which, values = some(windows, domain, 6)
    stamped = windows.stamped(inputs, which, values)
    assert stamped.shape == inputs.shape
    assert torch.allclose(domain.project_(stamped.clone()), stamped)
    if name != "ball":  # its corners are moved into the ball
        assert torch.allclose(windows.within(stamped, which), values)
    size = windows.index.shape[1]
    changed = (stamped != inputs).reshape(6, windows.channels, -1).any(1).sum(1)
    assert bool(((changed > 0) & (changed <= size)).all())
    assert bool((windows.low <= windows.start + 1e-6).all() or name in ("cube", "ball"))


@pytest.mark.parametrize(
    ("name", "size", "count"), [("image", 25, 100), ("large", 31 * 31, 120), ("sound", 80, 166)]
)
def test_windows_scale_with_the_input_and_cover_it(name, size, count):
    windows = windows_of(DOMAINS[name])
    assert windows.index.shape == (count, size)
    places = DOMAINS[name].shape[1:]
    assert len(windows.index.unique()) == torch.Size(places).numel()


def test_a_window_of_an_image_is_a_square():
    windows = windows_of(Box((1, 10, 12)), side=4)
    rows, columns = windows.index // 12, windows.index % 12
    assert windows.corners[0] == (0, 0)
    assert windows.corners[-1] == (6, 8)
    assert bool((rows.amax(1) - rows.amin(1) == 3).all() & (columns.amax(1) - columns.amin(1) == 3).all())


def test_bounds_are_those_of_the_channel():
    windows = windows_of(DOMAINS["image"])
    assert windows.low[7, :, 3].tolist() == [0.0, -1.0, 2.0]
    assert windows.start[7, :, 3].tolist() == [0.5, 0.0, 2.5]


@pytest.mark.parametrize("name", ["cube", "ball"])
def test_points_lie_in_small_balls(name):
    domain = DOMAINS[name]
    windows = windows_of(domain)
    reach = float(domain.extent) / 2
    centres = torch.tensor(windows.corners)[:, :, None]
    for values in (windows.low, windows.high, windows.start):
        assert float((values - centres).norm(dim=1).max()) <= BALL_RADIUS * reach * (1 + 1e-5)
    assert windows.index.shape == (125, 32)
    assert len(windows.start[0].T.unique(dim=0)) == 32
    assert torch.equal(windows.index[0], windows.index[9])


def test_windows_that_do_not_fit():
    with pytest.raises(ValueError, match="does not fit"):
        windows_of(Box((3, 8, 8)), side=9)
    with pytest.raises(ValueError, match="cannot replace"):
        windows_of(Points(20), side=21)
    assert windows_of(Box((1, 2, 5))).index.shape[1] == 4


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("image", 0, "rows 0 to 4, columns 0 to 4"),
        ("image", -1, "rows 27 to 31, columns 27 to 31"),
        ("sound", 0, "samples 0 to 79"),
        ("sound", -1, "samples 7920 to 7999"),
        ("vector", -1, "values 27 to 29"),
        ("volume", -1, "axis 0: 5 to 7, axis 1: 6 to 8, axis 2: 7 to 9"),
        ("cube", 0, "a ball around (-0.85, -0.85, -0.85)"),
    ],
)
def test_where_a_window_sits_is_told_in_words(name, place, words):
    assert windows_of(DOMAINS[name]).told(place) == words
