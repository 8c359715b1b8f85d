"""What bounds make of an activation's outputs: exact values, and the gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers.limited_networks import Net, images, limits
from mmbd.model.activations import Activation
from mmbd.model.bounded import Bounded, Limit, limiting

TAP = Activation("act", 0, 3, -1, (3,))
IMAGE = Activation("act", 0, 3, 1, (3, 2, 2))

# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("fold", "lower", "expected"),
    [
        (False, None, [-1, 0, 1, 2, 2, 2, 2, 2]),
        (True, None, [-1, 0, 1, 2, 1, 0, 0, 0]),
        (False, 0.5, [0.5, 0.5, 1, 2, 2, 2, 2, 2]),
        (True, 0.5, [0.5, 0.5, 1, 2, 1, 0.5, 0.5, 0.5]),
        (False, 0.0, [0, 0, 1, 2, 2, 2, 2, 2]),
        (True, -0.5, [-0.5, 0, 1, 2, 1, 0, 0, 0]),
    ],
)
def test_values_at_a_bound_of_two(fold, lower, expected):
    output = torch.tensor([-1.0, 0, 1, 2, 3, 4, 5, 100])[:, None].expand(8, 3)
    limit = Limit(TAP, torch.full((3,), 2.0), None if lower is None else torch.full((3,), lower), fold)
    assert limit(output).T.tolist() == [expected] * 3


@pytest.mark.parametrize("fold", [False, True])
def test_every_channel_has_its_own_bound(fold):
    upper = torch.tensor([1.0, 2, 3])
    images = torch.full((2, 3, 2, 2), 2.5)
    expected = [0.0, 1.5, 2.5] if fold else [1.0, 2.0, 2.5]
    assert Limit(IMAGE, upper, fold=fold)(images)[1].flatten(1).tolist() == [
        [value] * 4 for value in expected
    ]
    tokens = Activation("act", 0, 3, -1, (2, 3))
    assert Limit(tokens, upper, fold=fold)(torch.full((2, 2, 3), 2.5))[1].tolist() == [expected] * 2


@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20),
    upper=st.floats(0, 8, width=32),
    lower=st.none() | st.floats(-8, 8, width=32),
    fold=st.booleans(),
)
def test_bounds_hold_and_leave_what_is_within_them(values, upper, lower, fold):
    output = torch.tensor(values)[:, None]
    lower = None if lower is None else min(lower, upper)
    activation = Activation("act", 0, 1, -1, (1,))
    limit = Limit(activation, torch.tensor([upper]), None if lower is None else torch.tensor([lower]), fold)
    bounded = limit(output)
    assert float(bounded.max()) <= upper
    assert lower is None or float(bounded.min()) >= lower
    within = (output <= upper) & (output >= (-torch.inf if lower is None else lower))
    assert torch.equal(bounded[within], output[within])
    torch.testing.assert_close(limit(bounded), bounded, atol=0, rtol=0)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(
    "act", [nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.3), nn.GELU(), nn.SiLU(), nn.ELU()], ids=repr
)
def test_a_pruned_channel_is_exactly_zero(act, fold):
    net = Net(act)
    found = limits(net, 100.0)
    upper, lower = found[0].upper.clone(), torch.full((4,), -0.0)
    upper[2] = 0
    lower = torch.zeros(4)
    seen = []
    net.second.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        Bounded(net, [Limit(found[0].activation, upper, lower, fold)])(images())
        net(images())
    bounded, free = seen
    assert bool((bounded[:, 2] == 0).all())
    assert bool((free[:, 2] != 0).any())
    assert torch.equal(bounded, free.clamp_min(0) * (torch.arange(4) != 2)[:, None, None])


def test_without_a_lower_bound_negative_outputs_pass():
    net = Net(nn.LeakyReLU(0.3))
    found = limits(net, 0.0, fold=True)
    seen = []
    net.second.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        Bounded(net, found)(images())
        net(images())
    assert torch.equal(seen[0], seen[1].clamp_max(0))
    assert float(seen[0].min()) < 0


def test_wide_bounds_change_nothing():
    net = Net()
    for fold in (False, True):
        wide = limits(net, torch.finfo(torch.float32).max, fold=fold)
        assert torch.equal(Bounded(net, wide)(images()), net(images()))


def test_only_what_is_given_is_bounded():
    net = Net()
    _, second = limits(net, 0.0)
    expected = net.head.bias.expand(3, 2)  # nothing but the bias is left
    torch.testing.assert_close(Bounded(net, [second])(images()), expected, rtol=0, atol=0)
    first = Bounded(net, limits(net, 0.0)[:1])(images())
    only = F.relu(net.second(torch.zeros(3, 4, 4, 4))).flatten(1)
    torch.testing.assert_close(first, net.head(only))


# --------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("fold", [False, True])
def test_gradients_reach_the_bounds(fold):
    upper = torch.tensor([2.0, 2, 2], requires_grad=True)
    output = torch.tensor([[1.0, 3, 5], [1, 3, 3]], requires_grad=True)
    Limit(TAP, upper, fold=fold)(output).sum().backward()
    # What is clipped moves with its bound, what is mirrored twice as far; what is mirrored below
    # zero stays there.
    assert upper.grad.tolist() == ([0, 4, 2] if fold else [0, 2, 2])
    assert output.grad.tolist() == ([[1, -1, 0], [1, -1, -1]] if fold else [[1, 0, 0], [1, 0, 0]])


def test_gradients_pass_a_whole_network():
    net = Net().requires_grad_(False)
    bounds = {limit.activation: limit.upper.requires_grad_() for limit in limits(net, 0.1)}
    inputs = images().requires_grad_()
    with limiting(Limit(activation, z) for activation, z in bounds.items()):
        net(inputs).square().sum().backward()
    assert all(bool((z.grad != 0).any()) for z in bounds.values())
    assert bool((inputs.grad != 0).any())

    def loss(moved: torch.Tensor) -> torch.Tensor:
        first, second = bounds
        with torch.no_grad(), limiting([Limit(first, moved), Limit(second, bounds[second])]):
            return net(images()).square().sum()

    z, step = next(iter(bounds.values())), 1e-3 * torch.eye(4)
    numeric = torch.stack([(loss(z + e) - loss(z - e)) / 2e-3 for e in step])
    torch.testing.assert_close(z.grad, numeric.detach(), rtol=0.05, atol=1e-3)
