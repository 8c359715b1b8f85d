"""The model under inspection: what it accepts and refuses, and that it is left as it was."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box

SHAPE = (3, 4, 4)
Output = namedtuple("Output", ["loss", "logits"])


def network(classes: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(24, classes),
    )


class Wrapped(nn.Module):
    """A network whose output goes through `wrap`."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = network(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


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


# ----------------------------------------------------------------------------------- unwrapping


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: y,
        lambda y: (y, torch.zeros(7)),
        lambda y: [y],
        lambda y: ((y, 1), 2),
        lambda y: {"loss": None, "logits": y},
        lambda y: {"output": y},
        lambda y: OrderedDict(logits=(y,)),
        lambda y: SimpleNamespace(logits=y, hidden_states=None),
        lambda y: Output(loss=torch.zeros(()), logits=y),
        lambda y: y[:, None],
        lambda y: y[:, :, None, None],
        lambda y: F.log_softmax(y, dim=1),
    ],
    ids=[
        "plain",
        "tuple",
        "list",
        "nested",
        "dict",
        "single-entry",
        "ordered",
        "object",
        "namedtuple",
        "B1K",
        "BK11",
        "log-softmax",
    ],
)
def test_outputs_are_unwrapped(wrap):
    wrapped = Wrapped(wrap)
    clf = Classifier(wrapped, input_shape=SHAPE)
    assert clf.classes == 5
    x = torch.rand(3, *SHAPE)
    with clf.frozen():
        got, raw = clf(x), wrapped.net(x)
    assert got.shape == (3, 5)
    # A log-softmax shifts the logits, which changes no margin.
    torch.testing.assert_close(got - got[:, :1], raw - raw[:, :1])


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda y: y.softmax(1), "probabilities"),
        (lambda y: y[:, :1], "has 1 output"),
        (lambda y: y[:, 0], r"\(batch, classes\), got \(3,\)"),
        (lambda y: y[:1], r"got \(1, 5\) for 3 inputs"),
        (lambda y: y.mean(0), r"got \(5,\)"),
        (lambda y: y[:, :, None].expand(-1, -1, 2), r"got \(3, 5, 2\)"),
        (lambda y: y * torch.nan, "NaN or infinite"),
        (lambda y: y / 0, "NaN or infinite"),
        (lambda y: y.long(), "floating-point logits, got torch.int64"),
        (lambda y: y.argmax(1, keepdim=True).expand(-1, 2), "floating-point"),
        (lambda y: "cat", "found str"),
        (lambda y: (), "found tuple"),
        (lambda y: None, "found NoneType"),
        (lambda y: {"a": y, "b": y}, r"found \['a', 'b'\]"),
    ],
    ids=[
        "softmax",
        "one-output",
        "flat",
        "one-row",
        "mean",
        "three-dims",
        "nan",
        "inf",
        "integers",
        "labels",
        "text",
        "empty",
        "none",
        "two-tensors",
    ],
)
def test_outputs_that_are_not_logits_are_refused(wrap, message):
    with pytest.raises(NotEvaluable, match=message):
        Classifier(Wrapped(wrap), input_shape=SHAPE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_softmax_is_recognised_in_every_precision(dtype):
    softmax = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.Softmax(dim=1)).to(dtype)
    with pytest.raises(NotEvaluable, match="probabilities"):
        Classifier(softmax, input_shape=SHAPE)


def test_non_negative_logits_are_not_probabilities():
    assert Classifier(Wrapped(lambda y: y.relu() + 0.1), input_shape=SHAPE).classes == 5


def test_a_model_that_fails_says_why():
    with pytest.raises(Failed, match=r"shape \(3, 3, 9, 9\): RuntimeError: mat1 and mat2"):
        Classifier(network(), input_shape=(3, 9, 9))


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
