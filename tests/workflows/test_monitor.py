"""The monitor: its false alarms are what it promises, and it sees what the repair undoes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import mmbd
from helpers import colour_networks
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.workflows.monitor import Monitor, lost_margin


def test_lost_margins():
    original = torch.tensor([[5.0, 1, 0], [0, 2, 1], [0, 2, 1], [torch.nan, 0, 0], [1, 0, 0]])
    repaired = torch.tensor([[4.0, 3, 0], [3, 2, 1], [0, 9, 1], [1, 0, 0], [1, torch.inf, 0]])
    expected = [4 - 1, 1 + 1, 1 - 8, math.inf, math.inf]
    assert lost_margin(original, repaired).tolist() == expected


def repaired(clf: Classifier) -> Classifier:
    """Two channels bounded: the trigger's, and red, so that some clean images notice."""
    (activation,) = activations.find(clf)
    upper = torch.tensor([0.9, 10, 10, 0])
    return clf.around(Bounded(clf.model, [Limit(activation, upper)]))


def monitor(**options) -> Monitor:
    clf = colour_networks.classifier()
    return Monitor(clf, repaired(clf), colour_networks.images(300, seed=2)[0], **options)


def test_triggered_inputs_are_flagged_and_answered_rightly():
    watch = monitor()
    assert watch.notes == ()
    clean, labels = colour_networks.images(900, seed=3)
    found = watch(clean)
    assert torch.equal(found.predictions, labels)
    assert found.flagged.dtype == torch.bool
    assert 0.02 < float(found.flagged.double().mean()) < 0.09
    triggered = watch(colour_networks.white_pixel(clean[labels != 0]))
    assert bool(triggered.flagged.all())
    assert torch.equal(triggered.predictions, labels[labels != 0])
    assert triggered.p_values.tolist() == [1 / 301] * len(triggered.flagged)
    assert float(triggered.scores.min()) > watch.threshold


def test_a_trigger_whose_answer_stays_is_flagged_by_its_margin():
    """A bound that leaves enough of the trigger to win: the margin tells nevertheless."""
    clf = colour_networks.classifier()
    (activation,) = activations.find(clf)
    half = clf.around(Bounded(clf.model, [Limit(activation, torch.tensor([0.9, 10, 10, 0.5]))]))
    clean, labels = colour_networks.images(90, seed=3)
    found = Monitor(clf, half, colour_networks.images(300, seed=2)[0])(
        colour_networks.white_pixel(clean[labels != 0])
    )
    assert not found.predictions.any()
    assert bool(found.flagged.all())


def test_the_monitor_changes_nothing_and_repeats_itself():
    clf = colour_networks.classifier()
    fixed = repaired(clf)
    before = colour_networks.state(clf), colour_networks.state(fixed)
    watch = Monitor(clf, fixed, colour_networks.images(60)[0])
    first, second = (watch(colour_networks.images(30, seed=4)[0]) for _ in range(2))
    assert torch.equal(first.scores, second.scores)
    assert colour_networks.same(before[0], colour_networks.state(clf))
    assert colour_networks.same(before[1], colour_networks.state(fixed))
    alone = torch.cat([watch(image[None]).scores for image in colour_networks.images(30, seed=4)[0]])
    torch.testing.assert_close(alone, first.scores, atol=1e-5, rtol=1e-5)


def test_eight_bit_images_no_images_and_broken_ones():
    watch = monitor()
    bright = (255 * colour_networks.images(12)[0]).to(torch.uint8)
    assert torch.equal(watch(bright).scores, watch(bright.float() / 255).scores)
    nothing = watch(torch.empty(0, *colour_networks.SHAPE))
    assert [len(value) for value in vars(nothing).values()] == [0] * 4
    broken = watch(torch.full((1, *colour_networks.SHAPE), torch.nan))
    assert broken.flagged.tolist() == [True]


def test_too_few_calibration_inputs_flag_nothing_and_say_so():
    clf = colour_networks.classifier()
    watch = Monitor(clf, repaired(clf), colour_networks.images(18)[0])
    assert watch.threshold == math.inf
    assert watch.notes == (
        "nothing will be flagged: for a false-positive rate of 0.05 at least 19 calibration inputs "
        "with finite scores are needed, 18 were given",
    )
    assert not watch(colour_networks.white_pixel(colour_networks.images(9)[0])).flagged.any()
    assert Monitor(clf, repaired(clf), colour_networks.images(19)[0]).notes == ()


def linear(classes: int, shape=colour_networks.SHAPE, **options) -> Classifier:
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
    return Classifier(net, **({"input_shape": shape} | options))


@pytest.mark.parametrize(
    ("other", "inputs", "options", "message"),
    [
        (linear(4), colour_networks.images()[0], {}, "the original has 3 classes, the repaired one 4"),
        (linear(3, (3, 5, 4)), colour_networks.images()[0], {}, r"repaired one in Box\(\(3, 5, 4\)"),
        (
            linear(3, domain=Box(colour_networks.SHAPE, -1, 1)),
            colour_networks.images()[0],
            {},
            "low=-1, high=1",
        ),
        (linear(3), colour_networks.images()[0], {"false_positive_rate": 0}, "between 0 and 1, got 0"),
        (linear(3), colour_networks.images()[0], {"false_positive_rate": 5}, "between 0 and 1, got 5"),
        (linear(3), torch.empty(0, *colour_networks.SHAPE), {}, "no calibration inputs"),
        (linear(3), torch.rand(30, 3, 5, 5), {}, r"shape \(n, 3, 4, 4\), got \(30, 3, 5, 5\)"),
        (linear(3), 2 * torch.randn(30, *colour_networks.SHAPE), {}, "give raw inputs"),
    ],
)
def test_what_cannot_be_monitored(other, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        Monitor(colour_networks.classifier(), other, inputs, **options)


def test_one_network_for_both_and_a_batch_of_another_shape():
    clf = colour_networks.classifier()
    with pytest.raises(ValueError, match="nothing was repaired"):
        mmbd.Monitor(clf, clf.around(clf.model), colour_networks.images()[0])
    with pytest.raises(ValueError, match=r"shape \(n, 3, 4, 4\), got \(3, 4, 4\)"):
        monitor()(colour_networks.images()[0][0])
