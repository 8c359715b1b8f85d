"""Bounds for every place of an activation: what they do, their copies, and what is refused."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.limited_networks import SHAPE, Net, images
from mmbd.model.activations import find
from mmbd.model.bounded import Bounded, Limit, same_weights
from mmbd.model.classifier import Classifier


def by_place(net: nn.Module, **options) -> list[Limit]:
    """A random bound for every place of the first activation, and a bound a channel for the second."""
    first, second = find(Classifier(net.eval(), input_shape=SHAPE))
    generator = torch.Generator().manual_seed(3)
    return [
        Limit(first, torch.rand(first.shape, generator=generator), **options),
        Limit(second, torch.full((second.channels,), 0.1)),
    ]


@pytest.mark.parametrize("fold", [False, True])
def test_every_place_has_its_bound(fold):
    net = Net()
    limits = by_place(net, fold=fold)
    inputs, upper = images(), limits[0].upper
    first = F.relu(net.first(inputs))
    held = torch.minimum(first, (2 * upper - first).clamp_min(0) if fold else upper)
    expected = net.head(F.relu(net.second(held)).clamp(max=0.1).flatten(1))
    bounded = Bounded(net, limits)
    torch.testing.assert_close(bounded(inputs), expected)
    assert bounded.limits[0].upper.shape == limits[0].activation.shape
    assert same_weights(bounded, net)


def test_a_lower_bound_may_be_of_either_form():
    net = Net()
    upper, inputs = by_place(net)[0], images()
    lows = 0.5 * upper.upper.amin((1, 2))
    spread = lows[:, None, None].expand(upper.activation.shape).clone()
    one, other = (
        Bounded(net, [Limit(upper.activation, upper.upper, lower)])(inputs) for lower in (lows, spread)
    )
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match="must not exceed the upper ones"):
        Bounded(net, [Limit(upper.activation, upper.upper, lows + 1)])


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_and_state_dicts(copied):
    bounded = Bounded(Net(), by_place(Net(), fold=True))
    expected = bounded(images())
    assert torch.equal(copied(bounded)(images()), expected)
    other = Bounded(Net(), by_place(Net(), fold=True))
    other.get_buffer("upper0").zero_()
    other.load_state_dict(bounded.state_dict())
    assert torch.equal(other(images()), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_can_be_traced():
    bounded = Bounded(Net(), by_place(Net(), fold=True))
    with torch.no_grad():
        traced = torch.jit.trace(bounded, images())
    torch.testing.assert_close(traced(images(5)), bounded(images(5)))


def test_where_features_come_last():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.relu(self.first(x)).mean(1))

    net, inputs = Tokens().eval(), torch.rand(3, 5, 4)
    (activation,) = find(Classifier(net, input_shape=(5, 4)))
    assert (activation.axis, activation.shape) == (-1, (5, 6))
    upper = torch.rand(activation.shape)
    expected = net.last(torch.minimum(F.relu(net.first(inputs)), upper).mean(1))
    torch.testing.assert_close(Bounded(net, [Limit(activation, upper)])(inputs), expected)


class Pooled(nn.Module):
    """Takes images of any size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.first(x)).mean((2, 3)))


@pytest.mark.parametrize("side", [3, 5, 8])  # an output of 1x1 would even broadcast
def test_another_size_of_inputs_is_an_error(side):
    net = Pooled().eval()
    (activation,) = find(Classifier(net, input_shape=SHAPE))
    by_channel = Bounded(net, [Limit(activation, torch.ones(4))])
    assert by_channel(torch.rand(2, 3, side, side)).shape == (2, 2)
    bounded = Bounded(net, [Limit(activation, torch.ones(activation.shape))])
    with pytest.raises(ValueError, match=r"relu has a bound for every place of \(4, 4, 4\), and here its"):
        bounded(torch.rand(2, 3, side, side))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 5), (1, 4, 4), (2, 4, 4, 4)])
def test_bounds_of_another_shape_are_refused(shape):
    activation = by_place(Net())[0].activation
    with pytest.raises(ValueError, match=r"or one for every place, of shape \(4, 4, 4\)"):
        Bounded(Net(), [Limit(activation, torch.ones(shape))])
