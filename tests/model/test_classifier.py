"""The model under inspection: what it accepts and refuses, and that it is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.batch_norm_networks import SHAPE, network
from mmbd.base.errors import Failed
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box


def state(net: nn.Module):
    return (
        [module.training for module in net.modules()],
        [parameter.requires_grad for parameter in net.parameters()],
        {name: value.clone() for name, value in net.state_dict().items()},
    )


def assert_same_state(before, after):
    assert before[:2] == after[:2]
    for name, value in before[2].items():
        assert torch.equal(value, after[2][name]), name


# ------------------------------------------------------------------------------- left as it was


def mixed_network() -> nn.Sequential:
    net = network()
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    return net


def test_modes_gradients_and_buffers_survive():
    net = mixed_network()
    before = state(net)
    clf = Classifier(net, input_shape=SHAPE)
    assert_same_state(before, state(net))
    with clf.frozen():
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        clf(torch.rand(8, *SHAPE))
        with clf.frozen():  # nesting restores the outer state, which is frozen
            pass
        assert not any(module.training for module in net.modules())
    assert_same_state(before, state(net))


def test_they_survive_an_exception_too():
    net = mixed_network()
    clf = Classifier(net, input_shape=SHAPE)
    before = state(net)
    with pytest.raises(KeyboardInterrupt), clf.frozen():
        raise KeyboardInterrupt
    assert_same_state(before, state(net))
    with pytest.raises(Failed):
        Classifier(net, input_shape=(3, 9, 9))
    assert_same_state(before, state(net))


def test_inputs_are_not_changed_by_a_model_that_works_in_place():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 3))
    clf = Classifier(net, input_shape=SHAPE, bounds=(-1, 1))
    x = -torch.rand(2, *SHAPE)
    kept = x.clone()
    clf(x)
    assert torch.equal(x, kept)
    clf(x.requires_grad_()).sum().backward()
    assert x.grad is not None


def test_callers_without_gradients_may_build_one():
    net = network()
    before = state(net)
    for context in (torch.inference_mode, torch.no_grad):
        with context():
            clf = Classifier(net, input_shape=SHAPE, mean=(0.1, 0.2, 0.3), std=0.5)
        assert_same_state(before, state(net))
        x = torch.rand(2, *SHAPE, requires_grad=True)
        with clf.frozen():
            clf(x).sum().backward()
        assert x.grad is not None


def test_weights_made_in_inference_mode_are_left_alone():
    with torch.inference_mode():
        net = network()
    net.train()
    Classifier(net, input_shape=SHAPE)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


# ------------------------------------------------------------------------------- normalisation


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)),
        (0.5, 0.25),
        (torch.tensor([0.4, 0.5, 0.6]), 2),
        ((0.1, 0.2, 0.3), None),
        (None, (0.2, 0.3, 0.4)),
        ([0.5], [0.5]),
    ],
)
def test_normalisation_is_what_one_would_do_by_hand(mean, std):
    net = network()
    clf = Classifier(net, input_shape=SHAPE, mean=mean, std=std)
    x = torch.rand(4, *SHAPE)
    means = torch.as_tensor(0.0 if mean is None else mean).expand(3).tolist()
    stds = torch.as_tensor(1.0 if std is None else std).expand(3).tolist()
    by_hand = torch.stack([(x[:, i] - means[i]) / stds[i] for i in range(3)], dim=1)
    with clf.frozen():
        torch.testing.assert_close(clf(x), net(by_hand))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"std": 0.0}, "std must be positive"),
        ({"std": (0.1, -0.1, 0.1)}, "std must be positive"),
        ({"mean": (0.1, 0.2)}, r"mean of shape \(2,\) does not broadcast"),
        ({"mean": float("nan")}, "mean must be finite"),
        ({"class_names": ["a", "b"]}, "2 class names for 5 classes"),
        ({"bounds": (1, 0)}, "low < high"),
        ({"input_shape": None}, "input_shape"),
    ],
)
def test_contradicting_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Classifier(network(), **({"input_shape": SHAPE} | arguments))


def test_large_means_are_accepted():
    clf = Classifier(network(), input_shape=SHAPE, bounds=(0, 2**31), mean=2.0**30, std=2.0**30)
    assert clf.classes == 5


def test_class_names():
    assert Classifier(network(), input_shape=SHAPE).class_names == ("0", "1", "2", "3", "4")
    named = Classifier(network(), input_shape=SHAPE, class_names=list("abcde"))
    assert named.class_names == tuple("abcde")


# -------------------------------------------------------------------------- dtypes and callables


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 0.05)])
def test_other_precisions_give_float32_logits(dtype, tolerance):
    reference = Classifier(network(), input_shape=SHAPE, mean=0.4914, std=0.25)
    clf = Classifier(network().to(dtype), input_shape=SHAPE, mean=0.4914, std=0.25)
    x = torch.rand(4, *SHAPE, requires_grad=True)
    with reference.frozen(), clf.frozen():
        logits = clf(x)
        torch.testing.assert_close(logits, reference(x), atol=tolerance, rtol=tolerance)
    assert logits.dtype == torch.float32
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.dtype == torch.float32
    assert bool((gradient != 0).any())


def test_integer_parameters_do_not_decide_the_precision():
    net = network()
    wrapped = nn.Module()
    wrapped.table = nn.Parameter(torch.arange(3), requires_grad=False)
    wrapped.net = net
    wrapped.forward = net.forward
    assert Classifier(wrapped, input_shape=SHAPE).dtype == torch.float32


def test_callables_that_are_not_modules():
    weight = torch.randn(48, 7, generator=torch.Generator().manual_seed(0))
    clf = Classifier(lambda x: x.flatten(1) @ weight, input_shape=SHAPE)
    assert (clf.classes, clf.device.type, clf.dtype) == (7, "cpu", torch.float32)
    with clf.frozen():
        assert clf(torch.zeros(2, *SHAPE)).tolist() == [[0.0] * 7] * 2


def test_a_domain_replaces_shape_and_bounds():
    domain = Box((48,), -1, 1)
    clf = Classifier(nn.Linear(48, 3), domain=domain)
    assert clf.domain is domain
    assert clf.classes == 3


def test_moving_takes_the_normalisation_along():
    clf = Classifier(network(), input_shape=SHAPE, mean=(0.1, 0.2, 0.3), std=0.5)
    assert clf.to("meta") is clf
    assert clf(torch.zeros(2, *SHAPE)).device.type == "meta"
