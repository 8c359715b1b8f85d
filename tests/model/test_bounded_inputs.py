"""Bounds on a network's inputs: both ends, and what goes beyond them is mirrored there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmbd.model.activations import find, inputs_of
from mmbd.model.bounded import Bounded, Limit, same_weights
from mmbd.model.classifier import Classifier


def classifier() -> Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    return Classifier(net.eval(), input_shape=(1, 2, 2), mean=0.5, std=0.5)


@pytest.mark.parametrize(
    ("value", "folded", "clipped"),
    [(0.1, 0.1, 0.1), (0.5, 0.1, 0.3), (0.9, -0.2, 0.3), (-0.3, -0.1, -0.2), (-2.0, 0.3, -0.2)],
)
def test_values(value, folded, clipped):
    activation = inputs_of(classifier())
    upper, lower = torch.full((1, 2, 2), 0.3), torch.full((1, 2, 2), -0.2)
    given = torch.full((5, 1, 2, 2), value)
    for fold, wanted in ((True, folded), (False, clipped)):
        made = Limit(activation, upper, lower, fold)(given)
        torch.testing.assert_close(made, torch.full_like(given, wanted))


def test_the_network_sees_bounded_inputs_and_the_given_ones_stay():
    clf = classifier()
    limit = Limit(inputs_of(clf), torch.full((1, 2, 2), 0.3), torch.full((1, 2, 2), -0.2))
    made = clf.around(Bounded(clf.model, [limit]))
    x = torch.rand(6, 1, 2, 2)
    kept = x.clone()
    torch.testing.assert_close(made(x), clf(x.clamp(0.4, 0.65)))
    assert torch.equal(x, kept)
    assert same_weights(clf.model, made.model)
    assert sorted(made.model.state_dict())[:2] == ["lower_inputs", "network.1.bias"]
    assert [one.name for one in find(made)] == ["network.2"]
    both = Bounded(clf.model, [Limit(find(clf)[0], torch.zeros(3)), limit])
    assert torch.allclose(both(x), clf.model[3].bias.expand(6, 2))


def test_both_ends_are_needed():
    clf = classifier()
    with pytest.raises(ValueError, match="bounds of inputs must be upper and lower ones"):
        Bounded(clf.model, [Limit(inputs_of(clf), torch.ones(1))])
    upper = torch.full((1, 2, 2), -1.0)  # normalised inputs may be below zero
    Bounded(clf.model, [Limit(inputs_of(clf), upper, upper - 1)])
