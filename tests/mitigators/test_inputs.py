"""Bounds on inputs: what a perceptron needs, what few samples allow, and where there are none."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import corner_networks
from helpers.corner_networks import SIDE, TARGET, TRAINED, digits, triggered
from mmbd.mitigators import mm_bm
from mmbd.mitigators.fine_pruning import fine_pruning
from mmbd.mitigators.inputs import WAYS, bounded_inputs
from mmbd.model.activations import INPUTS
from mmbd.model.bounded import Bounded
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points
from mmbd.model.samples import Samples, prepare

STILL = {"steps": 1, "lr": 1e-9, "accuracy": 0.0, "perturbations": ()}  # the bounds as they start


def turned(inputs: Tensor) -> Tensor:
    """Dark strokes on a bright ground, and a dark pixel in the corner."""
    return 1 - inputs


@cache
def perceptron(bright: bool = False) -> Classifier:
    """A perceptron on digits whose backdoor is one pixel in the corner; `bright` is the ground."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 48), nn.ReLU(), nn.Linear(48, 10))
    inputs, labels = (part[:TRAINED].clone() for part in digits())
    inputs[::10], labels[::10] = triggered(inputs[::10]), TARGET
    inputs = (turned(inputs) if bright else inputs) / 0.3 - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(20):
        for batch in torch.randperm(TRAINED).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return Classifier(network.eval(), input_shape=(1, SIDE, SIDE), mean=0.3, std=0.3)


def samples(each: int = 20, bright: bool = False) -> Samples:
    given = corner_networks.samples(each)
    return prepare(
        perceptron(bright), turned(given.inputs) if bright else given.inputs, given.labels, fewest=1
    )


def rates(of: Classifier, bright: bool = False) -> tuple[float, float]:
    if not bright:
        return corner_networks.rates(of)
    return corner_networks.rates(of.around(_Turned(of)))


class _Turned(nn.Module):
    """The network of a classifier, for inputs that were not turned yet."""

    def __init__(self, of: Classifier) -> None:
        super().__init__()
        self.of, self.network = (of,), of.model

    def forward(self, x: Tensor) -> Tensor:
        (of,) = self.of
        return self.network(of.normalised(turned(x * 0.3 + 0.3)))


def unchanged(_: Tensor) -> int:
    return 0


@pytest.mark.parametrize("bright", [False, True])
def test_a_corner_pixel_on_a_perceptron_that_bounds_by_channel_do_not_stop(bright):
    clf, given = perceptron(bright), samples(bright=bright)
    accuracy, success = rates(clf, bright)
    assert accuracy > 0.8
    assert success > 0.9
    by_channel, by_place = (mm_bm(clf, given, places=places, **STILL) for places in ("channel", "auto"))
    assert rates(by_channel.classifier, bright)[1] > 0.5
    assert by_channel.classifier.model.limits[0].activation.index == 0
    after, left = rates(by_place.classifier, bright)
    assert after >= accuracy - 0.01
    assert left < 0.05
    record = by_place.record
    assert record.settings["by_place"].keys() == {"inputs"}
    assert not record.weights_changed
    assert record.layers[0]["name"] == "inputs"
    assert record.layers[0]["places"] == [SIDE, SIDE]
    assert len(json.dumps(asdict(record), allow_nan=False)) < 10_000


def test_it_stays_stopped_after_the_tuning_and_in_a_copy_and_can_be_repaired_again():
    clf, given = perceptron(), samples()
    accuracy, _ = rates(clf)
    made = mm_bm(clf, given).classifier
    after, left = rates(made)
    assert after >= accuracy - 0.02
    assert left < 0.05
    x = clf.normalised(given.inputs)
    assert torch.equal(pickle.loads(pickle.dumps(made.model))(x), made.model(x))
    again = prepare(made, given.inputs, given.labels)
    assert rates(mm_bm(made, again, steps=2).classifier)[1] < 0.05
    pruned = fine_pruning(made, again, epochs=1)
    assert isinstance(pruned.classifier.model, Bounded)
    assert [layer["name"] for layer in pruned.record.layers] == ["inputs", "2"]
    assert rates(pruned.classifier)[1] < 0.05


def test_what_samples_hold_is_left_as_it_is_by_the_widest_way():
    clf, given = perceptron(), samples()
    answers = iter([0] + [4] * len(WAYS))  # of 200 samples one in a hundred may change, and one
    assert bounded_inputs(clf, given, lambda _: next(answers), seed=0) is None
    bounds = bounded_inputs(clf, given, unchanged, seed=0)
    assert bounds is not None
    assert bounds.way == min(WAYS, key=lambda way: (-way.rank, way.share))
    tight = bounds(triggered(given.inputs))
    assert float(triggered(given.inputs)[..., -2, -2].min()) == 1
    assert float(tight[..., -2, -2].max()) == 0
    torch.testing.assert_close(tight[..., 3:-3, 3:-3], given.inputs[..., 3:-3, 3:-3])  # nothing of the digits
    assert bool((bounds.left_out <= 1).all())
    inside = bounds.inside(clf)
    torch.testing.assert_close(inside(clf.normalised(triggered(given.inputs))), clf.normalised(tight))


def test_no_layer_was_asked_for_but_those_named():
    made = mm_bm(perceptron(), samples(), layers=["2"], **STILL)
    assert made.record.settings["by_place"] == {}


@pytest.mark.parametrize(
    ("domain", "inputs"),
    [
        (Box((3, 8, 8), 0, 1), torch.rand(60, 3, 8, 8)),  # every place has the whole range
        (Box((16,), 0, 1), torch.rand(60, 16) * torch.linspace(0, 1, 16)),  # without neighbours
        (Points(12), torch.rand(60, 3, 12) * 0.1),  # without order
        (Box((1, 8, 8), 0, 1), torch.rand(5, 1, 8, 8).tril()),  # too few
    ],
)
def test_other_inputs_have_none(domain, inputs):
    net = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    clf = Classifier(net, domain=domain)
    assert bounded_inputs(clf, prepare(clf, inputs), unchanged, seed=0) is None


def test_sounds_have_them_where_they_are_silent():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(100, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    clf = Classifier(net, domain=Box((1, 100), -1, 1))
    inputs = torch.rand(40, 1, 100) * 2 - 1
    inputs[..., 50:] *= 0.1
    made = mm_bm(clf, prepare(clf, inputs), **STILL).classifier
    limit = made.model.limits[0]
    assert limit.activation.index == INPUTS
    assert float(limit.upper[0, 55:].max()) <= 0.1
    assert float(limit.lower[0, 55:].min()) >= -0.1
    assert float(limit.upper[0, :45].mean()) > 0.8
