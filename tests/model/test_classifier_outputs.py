"""What a network may return: outputs that are unwrapped, and those that are no logits."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.batch_norm_networks import SHAPE, network
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.model.classifier import Classifier

Output = namedtuple("Output", ["loss", "logits"])


class Wrapped(nn.Module):
    """A network whose output goes through `wrap`."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = network(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


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
