"""What learned bounds start from: the activations that may be bounded, and their quantiles."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import backdoored_networks
from mmbd.base.errors import NotMitigated
from mmbd.mitigators.learned_bounds import activations, quantiles
from mmbd.model.activations import find
from mmbd.model.classifier import Classifier


def test_a_network_without_activations_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 2))
    clf = Classifier(net, input_shape=(1, 2, 2))
    with pytest.raises(NotMitigated, match="no activation that could be bounded"):
        activations(clf, "all")


class Looked(nn.Module):
    """Two activations of known values: of the inputs, and of their negatives squared."""

    def forward(self, x):
        return F.relu(x).amax((2, 3)) + F.elu(-x.square()).amax((2, 3))


@pytest.mark.parametrize("batch", [3, 7, 100])
@pytest.mark.parametrize("share", [1.0, 0.998, 0.9, 0.5])
def test_quantiles_are_those_of_all_values_together(share, batch):
    clf = Classifier(Looked(), input_shape=(3, 4, 5), bounds=(-1, 1))
    inputs = 2 * torch.rand(25, 3, 4, 5, generator=torch.Generator().manual_seed(0)) - 1
    activations = find(clf)
    found = quantiles(clf, activations, inputs, share, batch=batch)
    values = inputs.movedim(1, 0).flatten(1)
    above = max(1, round(500 * (1 - share)))  # of 25 * 20 values
    for index, outputs in enumerate((F.relu(values), F.elu(-values.square()))):
        expected = outputs.sort(dim=1, descending=True).values[:, above - 1]
        torch.testing.assert_close(found[index], expected, rtol=0, atol=0)
    assert quantiles(clf, activations[1:], inputs, share).keys() == {1}


def test_quantiles_of_single_values():
    clf = backdoored_networks.two_channels()
    inputs, _ = backdoored_networks.two_samples()
    found = quantiles(clf, find(clf), inputs, 0.75)[0]
    torch.testing.assert_close(found, inputs.sort(dim=0, descending=True).values[9])
