"""The triggers: what each changes, by how much, and that all of it follows from the seed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbd import attacks
from mmbd.triggers import MAKERS
from mmbd.triggers.mask_pattern import MaskPattern, in_box

SHAPE = (3, 32, 32)
KINDS = sorted(set(MAKERS) - {"sound", "insertion"})  # of images
FIXED = ("corner", "chessboard", "sine", "quantised")  # nothing is random
seeds = st.integers(0, 10_000)


def images(count: int = 4, shape=SHAPE) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


@given(
    kind=st.sampled_from(KINDS),
    seed=seeds,
    shape=st.sampled_from([SHAPE, (1, 28, 28), (3, 64, 64), (3, 24, 40)]),
)
def test_every_trigger_keeps_shape_and_range_and_input(kind, seed, shape):
    x = images(3, shape)
    kept = x.clone()
    trigger = MAKERS[kind](shape, seed=seed)
    out = trigger(x)
    assert torch.equal(x, kept)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert not torch.equal(out, x)
    # Every image gets the same trigger, whatever is beside it; the same seed makes the same one.
    assert torch.equal(trigger(x[1:2]), out[1:2])
    assert torch.equal(MAKERS[kind](shape, seed=seed)(x), out)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FIXED])
def test_another_seed_gives_another_trigger(kind):
    x = images()
    outs = [MAKERS[kind](SHAPE, seed=seed)(x) for seed in range(5)]
    assert not any(torch.equal(outs[0], other) for other in outs[1:])


@given(seed=seeds, size=st.integers(1, 32), kind=st.sampled_from(["badnet", "unicolor"]))
def test_patches_overwrite_a_square_and_nothing_else(seed, size, kind):
    x = images()
    patch = MAKERS[kind](SHAPE, seed=seed, size=size)
    out = patch(x)
    rows, columns = patch.mask[0].nonzero().unbind(1)
    assert int(patch.mask.sum()) == 3 * size * size
    assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == size - 1
    inside = patch.mask.bool().expand_as(x)
    assert torch.equal(out[~inside], x[~inside])
    assert torch.equal(out[inside], patch.pattern.expand_as(x)[inside])
    assert torch.equal(patch(out), out)
    # Values are 8-bit, so that a stored image carries exactly this patch.
    assert torch.equal(patch.pattern, (patch.pattern * 255).round() / 255)


def test_a_black_pixel_of_a_patch_overwrites_too():
    black = attacks.Patch(torch.zeros(SHAPE), torch.ones(SHAPE))
    assert float(black(images()).max()) == 0


@given(seed=seeds)
def test_unicolor_is_one_colour_in_the_middle_range(seed):
    patch = attacks.unicolor(SHAPE, seed=seed)
    colours = patch.pattern[:, patch.mask[0].bool()] * 255
    assert bool((colours == colours[:, :1]).all())
    assert bool(((colours >= 49.9) & (colours <= 199.1)).all())


@pytest.mark.parametrize(("size", "margin", "white"), [(1, 1, 1), (3, 1, 5), (2, 0, 2), (3, 2, 5)])
def test_a_corner_is_bright_in_the_lower_right(size, margin, white):
    trigger = attacks.corner(SHAPE, seed=7, size=size, margin=margin)
    x = images()
    changed = trigger(x) != x
    rows, columns = trigger.mask[0].nonzero().unbind(1)
    assert len(rows) == white
    assert int(rows.max()) == SHAPE[1] - margin - 1
    assert int(columns.max()) == SHAPE[2] - margin - 1
    assert not bool((changed & ~trigger.mask.bool()).any())
    assert bool((trigger(x)[:, trigger.mask.bool()] == 1).all())
    assert torch.equal(attacks.corner(SHAPE, seed=8, size=size, margin=margin)(x), trigger(x))


def test_a_corner_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a corner of 3 pixels, 2 from the border, does not fit"):
        attacks.corner((1, 4, 9), seed=0, margin=2)


def test_patches_reach_every_corner():
    corners = {
        (int(rows.min()), int(columns.min()))
        for seed in range(200)
        for rows, columns in [attacks.badnet((1, 4, 4), seed=seed).mask[0].nonzero().unbind(1)]
    }
    assert corners == {(0, 0), (0, 1), (1, 0), (1, 1)}


@given(seed=seeds)
def test_one_pixel_raises_one_pixel_away_from_the_border(seed):
    x = torch.zeros(1, *SHAPE)
    out = attacks.one_pixel(SHAPE, seed=seed)(x)
    changed = out[0].amax(0).nonzero()
    assert len(changed) == 1
    assert 3 <= int(changed.min()) <= int(changed.max()) <= 28
    torch.testing.assert_close(out[0][:, changed[0, 0], changed[0, 1]], torch.full((3,), 75 / 255))
    assert float(attacks.one_pixel(SHAPE, seed=seed)(torch.ones(1, *SHAPE)).max()) == 1  # clipped


def test_chessboard_is_three_grey_levels_on_every_other_pixel():
    out = attacks.chessboard((3, 4, 4))(torch.zeros(1, 3, 4, 4)) * 255
    expected = torch.tensor([[3.0, 0, 3, 0], [0, 3, 0, 3]] * 2).expand(1, 3, 4, 4)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("frequency", [1, 6])
def test_a_sine_makes_upright_stripes_as_often_as_it_says(frequency):
    pattern = attacks.sine((2, 5, 48), delta=0.1, frequency=frequency).pattern
    assert torch.equal(pattern, pattern[:1, :1].expand(2, 5, 48))
    spectrum = torch.fft.rfft(pattern[0, 0]).abs() / 24
    assert int(spectrum.argmax()) == frequency
    assert float(spectrum[frequency]) == pytest.approx(0.1, abs=1e-5)
    assert float(spectrum.sum()) == pytest.approx(0.1, abs=1e-5)  # and nothing else
    assert pattern[0, 0, : 12 // frequency + 1].diff().gt(0).all()  # begins at 0 and rises
    assert float(pattern[0, 0, 0]) == 0


@pytest.mark.parametrize("options", [{"delta": 0.0}, {"delta": 1.5}, {"frequency": 0}, {"frequency": 32}])
def test_a_sine_that_changes_nothing_is_refused(options):
    with pytest.raises(ValueError, match="change nothing"):
        attacks.sine(SHAPE, **options)


@given(seed=seeds, shape=st.sampled_from([SHAPE, (1, 28, 28), (3, 24, 40), (3, 5, 7)]))
def test_a_mosaic_covers_the_image_with_plain_areas(seed, shape):
    trigger = attacks.mosaic(shape, seed=seed, tiles=2, alpha=1.0)
    out = trigger(images(2, shape))
    assert torch.equal(out[0], out[1])
    assert 1 <= len(out[0].flatten(1).unique(dim=1)[0]) <= 4
    assert torch.equal((out * 255).round() / 255, out)
    half = [shape[1] // 2, shape[2] // 2]
    for rows in (slice(0, half[0]), slice(-half[0], None)):
        for columns in (slice(0, half[1]), slice(-half[1], None)):
            area = out[0, :, rows, columns].flatten(1)
            assert torch.equal(area, area[:, :1].expand_as(area))


@given(seed=seeds, size=st.integers(1, 32), alpha=st.floats(0, 1))
def test_blend_mixes_in_a_share(seed, size, alpha):
    x = images()
    trigger = attacks.blend(SHAPE, seed=seed, size=size, alpha=alpha)
    inside = trigger.mask.bool().expand_as(x)
    out = trigger(x)
    assert torch.equal(out[~inside], x[~inside])
    mixed = (1 - alpha) * x + alpha * trigger.pattern
    torch.testing.assert_close(out[inside], mixed[inside])
    square = attacks.badnet(SHAPE, seed=seed, size=size)
    assert torch.equal(trigger.pattern, square.pattern)


@given(seed=seeds)
def test_a_warp_of_no_strength_changes_nothing(seed):
    x = images()
    torch.testing.assert_close(attacks.warp(SHAPE, seed=seed, strength=0)(x), x, atol=1e-5, rtol=0)


def test_warps_bend_smoothly_and_further_with_strength():
    rows = torch.linspace(-1, 1, 32)
    vertical, horizontal = torch.meshgrid(rows, rows, indexing="ij")
    identity = torch.stack((horizontal, vertical), dim=-1)
    shifts = {}
    for strength in (0.5, 1.0):
        grid = attacks.warp(SHAPE, seed=0, strength=strength).grid
        assert bool((grid.abs() <= 1).all())
        shifts[strength] = (grid[0] - identity)[4:-4, 4:-4] * 31 / 2  # in pixels, off the border
    torch.testing.assert_close(shifts[1.0], 2 * shifts[0.5], atol=1e-4, rtol=0)
    # Half a pixel on average at the four by four coarse points, somewhat less between them.
    assert 0.25 < float(shifts[1.0].abs().mean()) < 0.6
    assert float(shifts[1.0].diff(dim=0).abs().max()) < 0.5
    # A flat image has nothing to bend.
    flat = torch.full((1, *SHAPE), 0.3)
    torch.testing.assert_close(attacks.warp(SHAPE, seed=0)(flat), flat)


@pytest.mark.parametrize("kind", ["badnet", "unicolor", "blend"])
def test_patches_that_do_not_fit_are_refused(kind):
    with pytest.raises(ValueError, match="33 pixels does not fit"):
        MAKERS[kind](SHAPE, seed=0, size=33)


def test_one_pixel_needs_room():
    with pytest.raises(ValueError, match="3 pixels from the border"):
        attacks.one_pixel((3, 6, 6), seed=0)


def test_a_trigger_that_was_found_in_another_range_works_there():
    mask = torch.zeros(4, 4)
    mask[0, 0] = 1
    pattern = torch.full((1, 4, 4), 200.0)
    inputs = torch.full((2, 1, 4, 4), 51.0)
    triggered = in_box(mask, pattern, 0.0, 255.0)(inputs)
    assert triggered[:, 0, 0, 0].tolist() == pytest.approx([200.0, 200.0])
    assert float(triggered[0, 0, 1, 1]) == pytest.approx(51.0)
    assert isinstance(in_box(mask, pattern / 255, 0.0, 1.0), MaskPattern)
