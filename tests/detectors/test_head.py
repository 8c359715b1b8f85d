"""The head statistic: exact moments, no unit of its own, and an honest p-value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import NotEvaluable
from mmbd.detectors import head
from mmbd.model.head import Head
from mmbd.search import head_shares

CLASSES, FEATURES = 10, 40


class Network(nn.Module):
    """Random ReLU features and a random last layer; `factor` is taken from one to the other."""

    def __init__(self, *, factor: float = 1.0, gain: float = 0.0, last: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(12, FEATURES), nn.Linear(FEATURES, CLASSES)
        self.between = nn.ReLU() if last is None else last
        with torch.no_grad():
            self.last.weight[4] += gain
            self.first.weight *= factor
            self.first.bias *= factor
            self.last.weight /= factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(x.flatten(1))))


def scanned(network: nn.Module, **options) -> mmbd.Report:
    return mmbd.scan(mmbd.Classifier(network, input_shape=(3, 2, 2)), detector="head", **options)


def shares(report: mmbd.Report) -> torch.Tensor:
    column = report.finding.column("share")
    assert column is not None
    return torch.tensor(column.values, dtype=torch.float64)


def test_the_moments_are_those_of_a_rectified_normal():
    """E max(N, 0) = 1 / sqrt(2 pi), E max(N, 0)^2 = 1/2."""
    x = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    mean = float(torch.trapezoid(x.clamp_min(0) * density, x))
    second = float(torch.trapezoid(x.clamp_min(0) ** 2 * density, x))
    assert pytest.approx(mean, rel=1e-6) == head_shares.MEAN
    assert pytest.approx(second - mean**2, rel=1e-6) == head_shares.VARIANCE


def test_shares_are_those_of_rectified_normal_features_drawn_one_by_one():
    network = Network(gain=0.1)
    found = shares(scanned(network, scale=1.5))
    layer = network.last.double()
    features = 1.5 * torch.randn(100_000, FEATURES, dtype=torch.float64).clamp_min(0)
    with torch.no_grad():
        drawn = layer(features).argmax(1).bincount(minlength=CLASSES).double() / len(features)
    assert float(found.sum()) == pytest.approx(1)
    torch.testing.assert_close(found, drawn, atol=0.015, rtol=0)


def test_classes_may_outnumber_features():
    layer = Head(torch.eye(6, 2, dtype=torch.float64), torch.zeros(6, dtype=torch.float64), 0)
    won = head_shares.won(layer, 1.0, 5000, seed=0)
    assert int(won.sum()) == 5000
    assert float(won[:2].min()) > 1500


def test_the_same_network_in_other_units_has_the_same_statistic():
    first, second = shares(scanned(Network())), shares(scanned(Network(factor=20.0)))
    torch.testing.assert_close(first, second, atol=0.001, rtol=0)
    fixed = shares(scanned(Network(), scale=1.0)), shares(scanned(Network(factor=20.0), scale=1.0))
    assert float((fixed[0] - fixed[1]).abs().max()) > 0.05  # the bias counts for more


def test_a_class_that_wins_most_is_flagged_and_named():
    report = scanned(Network(gain=1.0))
    assert (report.verdict, report.targets) == ("backdoored", (4,))
    assert report.finding.ranking[0] == 4
    assert report.p_value is not None
    assert report.p_value < 0.01
    low = scanned(Network(gain=-1.0))
    assert low.finding.ranking[-1] == 4
    assert low.targets == ()


@pytest.mark.parametrize("last", [nn.Tanh(), nn.GELU(), nn.Identity()])
def test_inputs_of_the_layer_that_can_be_negative_are_not_judged(last):
    report = scanned(Network(last=last))
    assert report.verdict == "not evaluable"
    assert "some inputs of the last linear layer are negative" in (report.reason or "")


def test_what_else_cannot_be_judged():
    with torch.no_grad():
        equal, dead = Network(), Network()
        equal.last.weight[:] = equal.last.weight[0]
        dead.first.bias -= 100
    assert "the same weights" in (scanned(equal).reason or "")
    assert "all zero" in (scanned(dead).reason or "")
    few = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    assert "3 classes are too few" in (scanned(few).reason or "")


def test_where_most_classes_win_no_draw_one_has_to_win_most():
    won = torch.zeros(10, dtype=torch.float64)
    won[:3] = torch.tensor([450.0, 300, 250])
    with pytest.raises(NotEvaluable, match="most classes win no draw"):
        head._index_of(won, 1000)
    won[:3] = torch.tensor([1000.0, 0, 0])
    index = head._index_of(won, 1000)
    assert float(index[0]) == pytest.approx(math.log(1000.5 / 0.5) / math.sqrt(2))
    assert index[1:].tolist() == [0] * 9


@pytest.mark.parametrize("options", [{"draws": 0}, {"scale": 0.0}, {"scale": -1.0}])
def test_senseless_options(options):
    with pytest.raises(ValueError, match="draws must be at least 1 and scale positive"):
        scanned(Network(), **options)


def test_outlier_indices():
    values = torch.tensor([1.0, 2, 3, 4, 9], dtype=torch.float64)
    assert head.outlier_index(values).tolist() == pytest.approx(
        [-2 / 1.4826, -1 / 1.4826, 0, 1 / 1.4826, 6 / 1.4826]
    )
    tied = torch.tensor([1.0, 1, 1, 0, 2])
    assert head.outlier_index(tied, least=0.5).tolist() == [0, 0, 0, -2, 2]


@pytest.mark.parametrize("count", [4, 10, 43])
def test_p_values_of_normal_numbers_mean_what_they_say(count):
    generator = torch.Generator().manual_seed(1)
    sets = torch.randn(1000, count, generator=generator, dtype=torch.float64)
    at_five_percent = sorted(head.outlier_index(sets).amax(1).tolist())[949]
    assert head.chance_of(at_five_percent, count) == pytest.approx(0.05, abs=0.02)
    assert head.chance_of(math.inf, count) <= 2 / (head.SETS + 1)
    assert head.chance_of(-1.0, count) == 1
