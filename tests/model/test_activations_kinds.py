"""Which calls are activations: modules and functions of every kind, and those that are none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.activation_networks import SHAPE, Net, around
from mmbd.model.activations import Activation, find
from mmbd.model.bounded import Bounded, Limit

MODULES = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.ReLU6(inplace=True),
    nn.Hardtanh(0, 6),
    nn.Hardtanh(0.0, 1.0, inplace=True),
    nn.LeakyReLU(),
    nn.LeakyReLU(0.2, inplace=True),
    nn.PReLU(),
    nn.RReLU(),
    nn.ELU(),
    nn.ELU(inplace=True),
    nn.SELU(),
    nn.CELU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.SiLU(inplace=True),
    nn.Mish(),
    nn.Softplus(),
    nn.Hardswish(),
]
FUNCTIONS = {
    "F.relu": F.relu,
    "F.relu, in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method, in place": lambda x: x.relu_(),
    "F.relu6": F.relu6,
    "F.hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "F.hardtanh by name": lambda x: F.hardtanh(x, max_val=6.0, min_val=0.0),
    "F.hardtanh_": lambda x: F.hardtanh_(x, 0.0, 6.0),
    "F.leaky_relu": F.leaky_relu,
    "F.leaky_relu_": F.leaky_relu_,
    "F.elu": F.elu,
    "F.elu_": F.elu_,
    "torch.selu": torch.selu,
    "torch.celu_": torch.celu_,
    "F.gelu": F.gelu,
    "F.gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "F.silu": F.silu,
    "F.mish": F.mish,
    "F.softplus": F.softplus,
    "F.hardswish": F.hardswish,
    "F.prelu": lambda x: F.prelu(x, torch.tensor([0.1])),
    "torch.prelu": lambda x: torch.prelu(x, torch.tensor([0.1])),
}


MEANT = {
    "relu",
    "relu6",
    "hardtanh",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "hardswish",
    "prelu",
}


def check_one(net: nn.Module, name: str) -> None:
    clf = around(net)
    activations = find(clf)
    assert activations == (Activation(name, 0, 4, 1, (4, 6, 6)),)
    limit = Limit(activations[0], torch.zeros(4), torch.zeros(4))
    inputs = torch.rand(2, *SHAPE)
    pruned = Bounded(net, [limit])(inputs)  # what was found is what the network then runs on
    torch.testing.assert_close(pruned, net.head.bias.expand(2, 2), rtol=0, atol=0)
    assert not torch.equal(net(inputs), pruned)


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_modules_are_found(module):
    check_one(Net(module), "act")


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_are_found(function):
    (activation,) = find(around(Net(function)))
    assert activation.name.strip("_") in MEANT
    check_one(Net(function), activation.name)


@pytest.mark.parametrize(
    "function",
    [
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Hardtanh(),
        nn.Hardtanh(-2, 2),
        nn.Hardsigmoid(),
        nn.Identity(),
        nn.Softmax(1),
        nn.Dropout(),
        nn.LogSigmoid(),
        nn.Tanhshrink(),
        F.hardtanh,
        lambda x: F.hardtanh(x, -1.0, 1.0),
        lambda x: F.hardtanh(x, max_val=6.0),
    ],
    ids=[
        "Tanh",
        "Sigmoid",
        "Hardtanh",
        "Hardtanh(-2, 2)",
        "Hardsigmoid",
        "Identity",
        "Softmax",
        "Dropout",
        "LogSigmoid",
        "Tanhshrink",
        "hardtanh",
        "hardtanh(-1, 1)",
        "hardtanh(-1, 6)",
    ],
)
def test_bounded_and_two_sided_functions_are_none(function):
    assert find(around(Net(function))) == ()
