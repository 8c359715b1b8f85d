"""Bounds as factors of where they start: what moves a channel, and what moves a place."""

from __future__ import annotations

import math

import torch

from helpers import corner_networks
from mmbd.mitigators.factors import Factors
from mmbd.model.activations import find
from mmbd.model.bounded import Limit


def made() -> Factors:
    """By place for the first activation, by channel for the others."""
    found = find(corner_networks.backdoored())
    first = {activation.index: torch.full((activation.channels,), 2.0) for activation in found}
    return Factors(found, first | {0: torch.full(found[0].shape, 2.0)})


def test_they_start_where_they_are_told_and_rise_together():
    factors = made()
    assert factors.place.keys() == {0}
    assert all(bool((z == 2).all()) for z in factors.bounds().values())
    assert all(torch.allclose(z, torch.tensor(2 * math.e)) for z in factors.bounds(1.0).values())
    torch.testing.assert_close(factors.height(), torch.tensor(1.0))


def test_the_norm_moves_channels_and_never_a_place():
    factors = made()
    factors.height().backward()
    assert factors.place[0].grad is None
    assert all(bool((powers.grad < 0).all()) for powers in factors.channel.values())


def test_a_place_moves_only_for_what_exceeds_its_bound():
    factors = made()
    activation = factors.activations[0]
    output = torch.ones(1, *activation.shape)
    output[0, 2, 3, 4] = 3
    Limit(activation, factors.bounds()[0], fold=True)(output).sum().backward()
    assert factors.place[0].grad.nonzero().tolist() == [[2, 3, 4]]
    with torch.no_grad():
        factors.place[0][2, 3, 4] = 1
        factors.channel[0][1] = 1
    bounds = factors.bounds()[0]
    assert torch.allclose(bounds[1], torch.tensor(2 / math.e))
    assert torch.allclose(bounds[2, 3, 4], torch.tensor(2 / math.e))
    assert int((bounds[2] == 2).sum()) == bounds[2].numel() - 1
