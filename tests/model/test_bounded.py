"""A network with bounds as one module: its copies, other precisions, and what it refuses."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import _len_torch_function_stack

from helpers.limited_networks import SHAPE, Net, images, limits
from mmbd.model.activations import find
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier


def test_the_network_is_used_as_it_is():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plain = net(images())
    bounded = Bounded(net, limits(net, lower=None))
    assert not torch.equal(bounded(images()), plain)
    assert bounded.network is net
    assert torch.equal(net(images()), plain)  # alone it knows of no bounds
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(len(module._forward_hooks) for module in bounded.modules())
    assert not list(bounded.parameters(recurse=False))
    assert {name.split(".")[0] for name in bounded.state_dict()} == {"network", "upper0", "upper1"}


def test_bounds_are_given_back_and_copied():
    net, upper = Net(), torch.tensor([1.0, 2, 3, 4])
    activation = limits(net)[0].activation
    bounded = Bounded(net, [Limit(activation, upper, torch.zeros(4), True)])
    upper.zero_()
    (limit,) = bounded.limits
    assert (limit.activation, limit.fold) == (activation, True)
    assert limit.upper.tolist() == [1, 2, 3, 4]
    assert limit.lower.tolist() == [0] * 4
    assert set(bounded.state_dict()) > {"upper0", "lower0"}
    trained = Bounded(net, [Limit(activation, upper.requires_grad_())])
    assert not trained.limits[0].upper.requires_grad


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_bound_alike_and_share_nothing(copied):
    bounded = Bounded(Net(), limits(Net(), fold=True))
    expected = bounded(images())
    other = copied(bounded)
    assert torch.equal(other(images()), expected)
    assert other.limits[0].activation == bounded.limits[0].activation
    bounded.get_buffer("upper0").zero_()
    bounded.network.head.bias.data.zero_()
    assert torch.equal(other(images()), expected)


def test_a_state_dict_brings_the_bounds_along():
    bounded, other = Bounded(Net(), limits(Net())), Bounded(Net(), limits(Net(), 3.0))
    assert not torch.equal(bounded(images()), other(images()))
    other.load_state_dict(bounded.state_dict())
    assert torch.equal(bounded(images()), other(images()))


def test_a_bounded_network_may_be_bounded_again():
    inner = Bounded(Net(), limits(Net(), 0.1))
    found = find(Classifier(inner, input_shape=SHAPE))
    assert [(activation.index, activation.channels) for activation in found] == [(0, 4), (1, 5)]
    outer = Bounded(
        inner, [Limit(activation, torch.full((activation.channels,), 0.05)) for activation in found]
    )
    tight = Bounded(Net(), limits(Net(), 0.05))
    torch.testing.assert_close(outer(images()), tight(images()))
    wide = Bounded(
        inner, [Limit(activation, torch.full((activation.channels,), 5.0)) for activation in found]
    )
    torch.testing.assert_close(wide(images()), inner(images()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    net = Net().to(dtype)
    bounded = Bounded(net, limits(net, 0.1, fold=True))
    assert bounded.limits[0].upper.dtype == dtype
    logits = bounded(images(dtype=dtype))
    assert logits.dtype == dtype
    reference = Bounded(Net(), limits(Net(), 0.1, fold=True))
    expected = reference(images())
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(logits.float(), expected, rtol=tolerance, atol=tolerance)
    moved = reference.to(dtype)(images(dtype=dtype))
    torch.testing.assert_close(moved.float(), expected, rtol=tolerance, atol=tolerance)


class Moving(nn.Module):
    """Activates in place and goes on with the tensor itself rather than with what came back."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.first(x)
        F.relu(x, inplace=True)
        return self.last(x)


def test_what_works_in_place_is_bounded_too():
    net = Moving().eval()
    (activation,) = find(Classifier(net, input_shape=(4,)))
    bounded = Bounded(net, [Limit(activation, torch.zeros(6))])
    torch.testing.assert_close(bounded(torch.rand(3, 4)), net.last.bias.expand(3, 2))


# ----------------------------------------------------------------------------------------- refused


def test_another_path_than_at_learning_is_an_error():
    net = Net()
    bounded = Bounded(net, limits(net))
    bounded(images())
    net.skip = True
    with pytest.raises(RuntimeError, match=r"passed 1 activations, relu#2 should .* number 2"):
        bounded(images())
    Bounded(net, limits(Net())[:1])(images())  # what it bounds is there


def test_a_failing_network_leaves_no_watch():
    net = Net()
    bounded = Bounded(net, limits(net))
    with pytest.raises(RuntimeError, match="size"):
        bounded(torch.rand(1, 2, 6, 6))
    assert _len_torch_function_stack() == 0
    assert F.relu(torch.tensor(5.0)) == 5


@pytest.mark.parametrize(
    ("upper", "lower", "words"),
    [
        ([1.0, 1, -0.1, 1], None, "the upper bounds of relu must be at least 0"),
        ([1.0, 1, float("inf"), 1], None, "finite"),
        ([1.0, 1, float("nan"), 1], None, "finite"),
        ([1.0, 1, 1], None, r"must be 4 floating-point numbers, got torch.float32 of shape \(3,\)"),
        (1.0, None, r"shape \(\)"),
        ([[1.0], [1], [1], [1]], None, r"shape \(4, 1\)"),
        ([1, 1, 1, 1], None, "got torch.int64"),
        ([1.0] * 4, [0.0, 0, 1.1, 0], "the lower bounds of relu must not exceed the upper ones"),
        ([1.0] * 4, [0.0, 0, float("nan"), 0], "lower"),
        ([1.0] * 4, [0.0], r"lower bounds .* shape \(1,\)"),
    ],
)
def test_bounds_that_do_not_fit_are_refused(upper, lower, words):
    activation = limits(Net())[0].activation
    limit = Limit(activation, torch.tensor(upper), None if lower is None else torch.tensor(lower))
    with pytest.raises(ValueError, match=words):
        Bounded(Net(), [limit])


def test_so_are_none_and_two_for_one_activation():
    found = limits(Net())
    for wrong in ([], [found[0], found[0]]):
        with pytest.raises(ValueError, match="one or more different activations"):
            Bounded(Net(), wrong)
