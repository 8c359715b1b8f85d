"""A copy of a network in bfloat16: faithful, refused where it cannot be, and the original left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmbd.model.bfloat16 import folded, in_bfloat16, multiply_adds
from mmbd.model.classifier import Classifier

SHAPE = (3, 8, 8)


class Twice(nn.Module):
    """A network that uses a convolution's output beside its normalisation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head((self.norm(x).relu() + x).mean((2, 3)))


class Own(nn.Module):
    """A network with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(192, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3, groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


def used(network: nn.Module) -> Classifier:
    """A classifier around the network, its averages those of some data."""
    torch.manual_seed(1)
    network.train()
    for _ in range(3):
        network(torch.rand(16, *SHAPE) * 3)
    return Classifier(network.eval(), input_shape=SHAPE, mean=0.4, std=0.2)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("network", "left"), [(plain, 0), (Twice, 1)])
def test_averages_are_folded_where_nothing_else_sees_the_convolution(network, left):
    torch.manual_seed(0)
    clf = used(network())
    made, x = folded(clf), torch.rand(9, *SHAPE)
    assert norms(made) == left
    with torch.no_grad():
        assert torch.allclose(clf.around(made)(x), clf(x), atol=1e-5)


@pytest.mark.parametrize("network", [plain, Twice])
def test_the_copy_says_nearly_the_same_and_the_original_stays_what_it_was(network):
    torch.manual_seed(0)
    clf, x = used(network()), torch.rand(20, *SHAPE)
    before = {name: value.clone() for name, value in clf.model.state_dict().items()}
    copy = in_bfloat16(clf)
    assert isinstance(copy, Classifier)
    assert copy.dtype == torch.bfloat16
    assert clf.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in clf.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in clf.model.parameters())
    assert not any(module._forward_hooks for module in clf.model.modules())
    exact, guessed = clf(x).detach(), copy(x)
    assert guessed.dtype == torch.float32
    assert not torch.equal(exact, guessed)
    assert float((exact - guessed).abs().max()) < 0.02 * float(exact.abs().max())


def test_the_last_layer_keeps_its_digits():
    clf = used(plain())
    copy = in_bfloat16(clf)
    assert isinstance(copy, Classifier)
    assert copy(torch.rand(2, *SHAPE)).bfloat16().float().ne(copy(torch.rand(2, *SHAPE))).any()


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Own(), "parameters outside"),
        (lambda x: x.flatten(1)[:, :5], "no module in float32"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).bfloat16(), "no module in float32"),
    ],
)
def test_it_says_why_there_is_no_copy(network, reason):
    found = in_bfloat16(Classifier(network, input_shape=SHAPE))
    assert isinstance(found, str)
    assert reason in found
    assert not found.endswith(".")


def test_multiplications_are_those_of_one_input():
    #   3 x 3 x 3 a place of 6 channels and 6 x 6; 3 x 3 x 3 of 4 and 4 x 4; and 64 x 5
    assert multiply_adds(used(plain())) == 27 * 6 * 36 + 27 * 4 * 16 + 320
