"""TrojanNetDetector without data: a planted trigger is found, and how it searches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mmbd
from helpers.dark_patch_networks import CLASSES, TARGET, network
from mmbd.model.classifier import Classifier
from mmbd.search.raised_features import ascend, on_simplex, watched

QUICK = {"steps": 60}


def numbers(report: mmbd.Report) -> list[float]:
    return [value or 0.0 for value in report.finding.columns[0].values]


@pytest.mark.parametrize(
    ("values", "nearest"),
    [
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([1.2, 1.3, 1.5], [0.2, 0.3, 0.5]),
        ([3.0, 0.0, 1.0], [1.0, 0.0, 0.0]),
        ([0.6, 0.6, -1.0], [0.5, 0.5, 0.0]),
        ([-1.0, -1.0], [0.5, 0.5]),
    ],
)
def test_the_nearest_point_of_the_simplex(values, nearest):
    found = on_simplex(torch.tensor(values, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(nearest, dtype=torch.float64))


def test_features_are_what_goes_into_the_last_layer():
    model = network(60.0, 1.0)
    inputs = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    logits, features, relus = watched(model, inputs)
    assert relus == 1
    torch.testing.assert_close(model.model.last(features), logits)
    torch.testing.assert_close(features[:, :CLASSES], inputs.flatten(1)[:, :CLASSES])


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_go_through_the_relu_asked_for_and_values_stay(inplace):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(inplace=inplace), nn.Linear(9, 5))
    model = Classifier(net, input_shape=(3, 2, 2))
    x = torch.rand(3, 3, 2, 2).requires_grad_()
    plain, through = watched(model, x)[1], watched(model, x, 1)[1]
    assert torch.equal(plain, through)
    assert bool((plain == 0).any())
    (gradient,) = torch.autograd.grad(through.sum(), x)
    torch.testing.assert_close(gradient.flatten(1), net[1].weight.sum(0).expand(3, -1))
    (cut,) = torch.autograd.grad(plain.sum(), x)
    assert not torch.allclose(gradient, cut)


def test_a_network_that_goes_on_after_its_last_layer_is_not_evaluable():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.LayerNorm(6))
    report = mmbd.scan(Classifier(net, input_shape=(3, 2, 2)), detector="df-tnd", **QUICK)
    assert report.verdict == "not evaluable"
    assert "last linear layer" in str(report.finding.reason)


def test_one_step_goes_by_signs_and_shrinks_the_mask():
    """Features are the inputs' values; black patterns under masks can only lower them."""
    start = torch.tensor([[0.5, 0.25]])

    def slope(inputs, weights):
        return -inputs, -weights.expand_as(inputs).float()

    found = ascend(start, slope, 2, steps=1, step=0.1, gamma=0.01)
    # First step: the mask rises by 0.1 less 0.001. Second: the same, and the pattern goes below 0.
    torch.testing.assert_close(found.mask, torch.full((1, 2), 0.198))
    torch.testing.assert_close(found.pattern, torch.full((1, 2), -0.1))
    torch.testing.assert_close(found.inputs, (1 - 0.198) * start - 0.0198)
    assert found.curve[0] == pytest.approx(-0.375)


def test_the_target_of_a_dark_patch_gains_most():
    report = mmbd.scan(network(60.0, 1.0), detector="df-tnd", **QUICK)
    assert report.verdict == "backdoored"
    assert report.targets[0] == TARGET
    assert report.finding.score > 10
    assert report.finding.facts["evaluations"] == 10 * 2 * 60
    kinds = {artifact.kind: artifact for artifact in report.finding.artifacts}
    assert set(kinds) == {"triggered sample", "trigger mask", "trigger pattern"}
    assert float(kinds["triggered sample"].tensor[:, 3:, 3:].mean()) < 0.1


def test_nothing_is_found_in_the_same_network_without_it():
    assert mmbd.scan(network(0.0, 1.0), detector="df-tnd", **QUICK).verdict == "clean"


def test_the_originals_rule_decides_where_its_threshold_is_given():
    options = {"threshold": 20.0, **QUICK}
    planted, twin = (mmbd.scan(network(gain, 1.0), detector="df-tnd", **options) for gain in (60.0, 0.0))
    assert planted.targets == (TARGET,)
    assert planted.finding.decided_by == "logit increase"
    assert twin.verdict == "clean"
    assert {test.name for test in twin.finding.tests} == {"MAD", "logit increase"}


def test_batches_change_nothing_but_rounding_and_seeds_do():
    one, few, other = (
        mmbd.scan(network(60.0, 1.0), detector="df-tnd", **QUICK, **options)
        for options in ({}, {"batch": 3}, {"seed": 1})
    )
    assert numbers(one) == pytest.approx(numbers(few), abs=1e-4)
    assert numbers(one) != pytest.approx(numbers(other), abs=1e-2)
    assert one.finding.facts["evaluations"] == few.finding.facts["evaluations"]


@pytest.mark.parametrize(
    "options", [{"starts": 0}, {"step": 0}, {"gamma": -1}, {"pattern": 2}, {"threshold": 0}]
)
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        mmbd.scan(network(60.0, 1.0), detector="df-tnd", **options)
