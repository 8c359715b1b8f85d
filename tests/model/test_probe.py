"""Networks that take one input at a time, or two at least, are scanned all the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import Failed
from mmbd.model.classifier import Classifier

SHAPE = (3, 8, 8)


def network(classes: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    ).eval()


class Squeezed(nn.Module):
    """Takes the batch away too where it is one."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner[4](self.inner[2](self.inner[1](self.inner[0](x))).squeeze())


class Alone(nn.Module):
    """Was written for one input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x):
        assert len(x) == 1, "one at a time"
        return self.inner(x)


@pytest.mark.parametrize(("make", "rows"), [(Squeezed, "two"), (Alone, "one"), (network, "any")])
def test_inputs_go_as_the_network_takes_them(make, rows):
    clf, plain = Classifier(make(), input_shape=SHAPE), network()
    assert clf.reading.rows == rows
    x = torch.rand(5, *SHAPE, requires_grad=True)
    for part in (x, x[:1], x[:2]):
        logits = clf(part)
        torch.testing.assert_close(logits, plain(part))
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
        assert bool((gradient[: len(part)] != 0).any())


@pytest.mark.parametrize("make", [Squeezed, Alone])
def test_they_are_scanned_like_any_other(make):
    report = mmbd.scan(Classifier(make(), input_shape=SHAPE), universal=False)
    plain = mmbd.scan(Classifier(network(), input_shape=SHAPE), universal=False)
    assert report.statistics == pytest.approx(plain.statistics, rel=1e-4)
    assert report.verdict == plain.verdict


def test_a_network_exported_for_one_input_is_scanned():
    one = torch.export.export(network(), (torch.rand(1, *SHAPE),)).module()
    clf = Classifier(one, input_shape=SHAPE)
    assert clf.reading.rows == "one"
    x = torch.rand(3, *SHAPE)
    torch.testing.assert_close(clf(x), network()(x))


def test_what_the_network_says_to_one_input_is_passed_on():
    class Two(nn.Module):
        def forward(self, x):
            assert len(x) > 1, "needs two or more"
            return x.flatten(1)[:, :6]

    with pytest.raises(Failed, match=r"shape \(1, 3, 8, 8\): AssertionError: needs two or more"):
        Classifier(Two(), input_shape=SHAPE)


def test_the_first_error_counts_where_one_input_does_not_help():
    with pytest.raises(Failed, match=r"shape \(3, 4, 8, 8\)"):
        Classifier(network(), input_shape=(4, 8, 8))
