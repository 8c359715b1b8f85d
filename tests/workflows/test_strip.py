"""STRIP: triggered inputs keep their class under overlays, clean ones are flagged as often as said."""

from __future__ import annotations

import math

import pytest
import torch

import mmbd
from helpers import colour_networks
from mmbd.workflows.strip import Strip


def strip(**options) -> Strip:
    return Strip(colour_networks.classifier(), colour_networks.images(400, seed=2)[0], **options)


def test_triggered_inputs_are_flagged_and_clean_ones_at_the_rate():
    watch = strip(overlays=40)
    assert watch.notes == ()
    assert len(watch.calibration) == 360
    clean, labels = colour_networks.images(600, seed=3)
    found = watch(clean)
    assert torch.equal(found.predictions, labels)
    assert 0.02 < float(found.flagged.double().mean()) < 0.09
    triggered = watch(colour_networks.white_pixel(clean[labels != 0]))
    assert not triggered.predictions.any()
    assert bool(triggered.flagged.all())
    assert triggered.p_values.tolist() == [1 / 361] * len(triggered.flagged)
    assert float(triggered.scores.min()) > watch.threshold


def test_scores_are_negative_mean_entropies_in_bits_of_blends_in_the_domain():
    """One overlay and one input to calibrate, worked out by hand."""
    clf = colour_networks.classifier()
    two = colour_networks.images(2, seed=5)[0]
    watch = Strip(clf, two, overlays=1, blend=0.5)
    entropies: list[float] = []
    for under, over in ((two[0], two[1]), (two[1], two[0])):
        with torch.no_grad():
            logits = clf((under + 0.5 * (over - over.mean())).clamp(0, 1)[None])
        p = logits[0].double().softmax(0)
        entropies.append(float(-(p * p.log2()).sum()))
    assert entropies[0] != pytest.approx(entropies[1])
    assert -float(watch.calibration) in [pytest.approx(entropy) for entropy in entropies]


def test_batches_and_repeats_change_nothing_and_seeds_do():
    watch, again = strip(overlays=30), strip(overlays=30)
    images = colour_networks.images(20, seed=4)[0]
    whole = watch(images)
    assert torch.equal(whole.scores, again(images).scores)
    alone = torch.cat([watch(image[None]).scores for image in images])
    torch.testing.assert_close(alone, whole.scores, atol=1e-5, rtol=1e-5)
    assert not torch.equal(strip(overlays=30, seed=1)(images).scores, whole.scores)


def test_the_classifier_stays_as_it_was():
    clf = colour_networks.classifier()
    before = colour_networks.state(clf)
    Strip(clf, colour_networks.images(60)[0])(colour_networks.images(5)[0])
    assert colour_networks.same(before, colour_networks.state(clf))


def test_eight_bit_images_no_images_and_broken_ones():
    watch = strip(overlays=10)
    bright = (255 * colour_networks.images(12)[0]).to(torch.uint8)
    assert torch.equal(watch(bright).scores, watch(bright.float() / 255).scores)
    nothing = watch(torch.empty(0, *colour_networks.SHAPE))
    assert [len(value) for value in vars(nothing).values()] == [0] * 4
    broken = watch(torch.full((1, *colour_networks.SHAPE), torch.nan))
    assert broken.flagged.tolist() == [True]


def test_few_clean_inputs_are_shared_in_halves_and_that_is_said():
    watch = Strip(colour_networks.classifier(), colour_networks.images(39)[0])
    assert len(watch.calibration) == 20
    assert watch.notes == ("19 inputs are laid over each, not 100: that takes 200 clean inputs",)
    fewer = Strip(colour_networks.classifier(), colour_networks.images(30)[0])
    assert fewer.threshold == math.inf
    assert "nothing will be flagged" in fewer.notes[1]
    assert not fewer(colour_networks.white_pixel(colour_networks.images(9)[0])).flagged.any()


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (colour_networks.images()[0], {"false_positive_rate": 1}, "between 0 and 1, got 1"),
        (colour_networks.images()[0], {"overlays": 0}, "overlays must be at least 1"),
        (colour_networks.images()[0], {"blend": 0}, "blend positive"),
        (colour_networks.images(1)[0], {}, "1 clean inputs"),
        (torch.rand(30, 3, 5, 5), {}, r"shape \(n, 3, 4, 4\), got \(30, 3, 5, 5\)"),
        (2 * torch.randn(30, *colour_networks.SHAPE), {}, "give raw inputs"),
    ],
)
def test_what_cannot_be_watched(inputs, options, message):
    with pytest.raises(ValueError, match=message):
        mmbd.Strip(colour_networks.classifier(), inputs, **options)


def test_a_batch_of_another_shape():
    with pytest.raises(ValueError, match=r"shape \(n, 3, 4, 4\), got \(3, 4, 4\)"):
        strip(overlays=2)(colour_networks.images()[0][0])
