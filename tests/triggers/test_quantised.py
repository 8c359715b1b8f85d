"""Few levels: which values come out, and that the errors go where Floyd and Steinberg send them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmbd.triggers.quantised import Quantised, quantised


def one_after_the_other(image: Tensor, levels: int, share: float = 1.0) -> Tensor:
    """An image (channels, height, width), pixel by pixel and row by row."""
    out = image.double().clone()
    _, height, width = out.shape
    for row in range(height):
        for column in range(width):
            old = out[:, row, column].clone()
            new = (old * (levels - 1)).round().clamp(0, levels - 1) / (levels - 1)
            out[:, row, column] = new
            for right, down, part in ((1, 0, 7), (-1, 1, 3), (0, 1, 5), (1, 1, 1)):
                if 0 <= column + right < width and row + down < height:
                    out[:, row + down, column + right] += share * part / 16 * (old - new)
    return out


def images(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=generator) / 255


@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(3, 9, 6), (1, 4, 11), (3, 1, 5), (2, 7, 1), (1, 2, 2)]),
    levels=st.integers(2, 20),
    share=st.sampled_from([1.0, 0.5]),
)
def test_dithering_is_that_of_a_loop_over_pixels(seed, shape, levels, share):
    x = images(2, shape, seed)
    out = Quantised(levels, share)(x)
    expected = torch.stack([one_after_the_other(image, levels, share) for image in x]).float()
    # A sum that lies within rounding of the middle between two levels may go either way, and then
    # takes its neighbours along: too seldom to be seen in most images.
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 1000), levels=st.integers(2, 256), share=st.floats(0, 1))
def test_only_the_levels_come_out(seed, levels, share):
    out = Quantised(levels, share)(images(2, (3, 6, 5), seed)) * (levels - 1)
    torch.testing.assert_close(out, out.round(), atol=1e-3, rtol=0)
    assert 0 <= float(out.min()) <= float(out.max()) <= levels - 1


def test_rounding_alone_takes_the_nearest_level():
    out = Quantised(3, 0.0)(torch.tensor([[[[0.0, 0.2, 0.3, 0.7, 0.8, 1.0]]]]))
    assert out.flatten().tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_dithering_keeps_the_brightness_of_a_flat_area():
    flat = torch.full((1, 1, 32, 32), 0.3)
    assert float(Quantised(2, 0.0)(flat).max()) == 0
    assert float(Quantised(2)(flat).mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(quantised((1, 32, 32), levels=2)(flat), Quantised(2)(flat))


@pytest.mark.parametrize("dithering", [0.0, 1.0])
def test_all_256_levels_leave_an_8_bit_image_as_it_is(dithering):
    x = images(3, (3, 8, 8), 0)
    torch.testing.assert_close(Quantised(256, dithering)(x), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("levels", "dithering", "message"),
    [
        (1, 1.0, "2 to 256 levels, got 1"),
        (257, 1.0, "2 to 256"),
        (2.5, 1.0, "2 to 256"),
        (8, 1.1, "dithering"),
    ],
)
def test_what_cannot_be(levels, dithering, message):
    with pytest.raises(ValueError, match=message):
        Quantised(levels, dithering)
