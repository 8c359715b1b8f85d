"""A network with bounds: exact values, gradients, what it refuses, copies, and other precisions."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.overrides import _len_torch_function_stack

from mmbd.model.activations import Activation, find
from mmbd.model.bounded import Bounded, Limit, limiting
from mmbd.model.classifier import Classifier

SHAPE = (3, 6, 6)
TAP = Activation("act", 0, 3, -1, (3,))
IMAGE = Activation("act", 0, 3, 1, (3, 2, 2))


class Net(nn.Module):
    def __init__(self, act=F.relu, skip: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(20, 2)
        self.act, self.skip = act, skip

    def forward(self, x):
        x = self.act(self.first(x))
        x = self.second(x)
        return self.head((x if self.skip else self.act(x)).flatten(1))


def limits(net: nn.Module, upper: float = 0.1, **options) -> list[Limit]:
    clf = Classifier(net.eval(), input_shape=SHAPE)
    return [
        Limit(activation, torch.full((activation.channels,), upper, dtype=clf.dtype), **options)
        for activation in find(clf)
    ]


def images(count: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)).to(dtype)


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


# -------------------------------------------------------------------------------------- one module


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
