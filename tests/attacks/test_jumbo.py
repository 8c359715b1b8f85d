"""Jumbo triggers: within the ranges that the original draws from, and copies beside the clean samples."""

from __future__ import annotations

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd.attacks.jumbo import LENGTHS, SIZES, draw, jumbo

IMAGE, SOUND = (3, 12, 12), (1, 400)


def box(mask: torch.Tensor) -> tuple[int, ...]:
    """The lengths of the smallest box that holds the mask."""
    places = mask[0].nonzero()
    return tuple((places.amax(0) - places.amin(0) + 1).tolist())


@pytest.mark.parametrize(("shape", "low"), [(IMAGE, 0.0), (SOUND, -1.0)])
def test_every_drawn_trigger_is_within_the_originals_ranges(shape, low):
    sizes = {None, *(SIZES if len(shape) == 3 else (round(share * shape[1]) for share in LENGTHS))}
    met, starts, solid = set(), set(), 0
    for seed in range(300):
        drawn = draw(shape, seed=seed)
        pattern, mask, alpha = drawn.trigger.pattern, drawn.trigger.mask, drawn.trigger.alpha
        met.add(drawn.size)
        lengths = shape[1:] if drawn.size is None else (drawn.size,) * len(shape[1:])
        assert box(mask) == lengths
        assert float(mask.sum()) == shape[0] * torch.ones(lengths).numel()
        assert low <= float(pattern.min()) <= float(pattern.max()) <= 1
        assert not pattern[mask == 0].any()
        if drawn.size is None:
            assert 0.05 <= alpha <= 0.2
        else:
            assert 0.2 <= alpha <= 0.5 or alpha == 1.0
            starts.add(tuple(mask[0].nonzero()[0].tolist()))
            solid += alpha == 1.0
        assert 0.05 <= drawn.rate <= 0.5
    assert met == sizes
    assert len(starts) > 40
    assert 0.1 < solid / 240 < 0.5  # a quarter of the patches


def test_patches_that_do_not_fit_into_a_small_image_are_left_out():
    assert {draw((1, 4, 4), seed=seed).size for seed in range(100)} == {2, 3, None}


@pytest.mark.parametrize("shape", [(3, 1024), (16,), (1, 4, 4, 4)])
def test_inputs_without_patches_are_refused(shape):
    with pytest.raises(ValueError, match="jumbo triggers are patches of images and sounds"):
        draw(shape, seed=0)


def test_copies_are_added_as_often_as_the_rate_says_and_the_sources_can_give():
    seen = []
    for rate in (0.1, 0.9):
        made = victim(pictures(40), epochs=1)
        backdoor = jumbo(made, sources=(1, 2, 3), target=0, rate=rate)
        assert backdoor.protocol["rate"] == rate
        seen.append(backdoor.poisoned.tolist())
    assert seen == [list(range(40, 44)), list(range(40, 70))]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="expected more than 0 and at most 1"):
        jumbo(victim(pictures(40)), sources=(1,), target=0, rate=rate)


def test_sources_without_samples_are_refused():
    training = pictures(40)
    with pytest.raises(ValueError, match=r"the source classes \[1\] have no samples"):
        jumbo(victim(training.take((training.labels != 1).nonzero().flatten())), sources=(1,), target=0)
