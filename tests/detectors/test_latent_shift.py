"""The latent shift: exact against a general solver, and what it says of planted networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

import mmbd
from mmbd.detectors.latent_shift import largest_leads, least_sure, shortest, shortest_shifts


def by_a_general_solver(normals: np.ndarray, least: np.ndarray) -> float:
    """The length of the shortest x with normals x >= least, by sequential quadratic programming."""
    start = np.linalg.lstsq(normals, least + 1.0, rcond=None)[0]
    found = minimize(
        lambda x: x @ x,
        start,
        jac=lambda x: 2 * x,
        constraints={"type": "ineq", "fun": lambda x: normals @ x - least, "jac": lambda x: normals},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    assert found.success
    return float(np.sqrt(found.fun))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("classes", "features"), [(4, 3), (6, 20), (12, 30)])
def test_shifts_are_the_shortest(classes, features, seed):
    draw = np.random.default_rng(seed)
    weight = draw.normal(size=(classes, features)) * 10.0 ** draw.integers(-3, 4)
    leads = np.abs(draw.normal(size=(classes, classes))) * 5
    np.fill_diagonal(leads, 0)
    for label, shift in enumerate(shortest_shifts(torch.tensor(weight), leads)):
        others = np.arange(classes) != label
        normals, least = weight[label] - weight[others], leads[label, others]
        if np.isnan(shift).any():  # none exists: some combination of the constraints says 0 >= 1
            assert classes > features
            continue
        scale = np.abs(normals).max()
        expected = by_a_general_solver(normals / scale, least / least.max()) * least.max() / scale
        assert np.linalg.norm(shift) == pytest.approx(expected, rel=1e-5)


def test_one_constraint_two_and_none():
    assert shortest(np.array([[3.0, 4.0]]), np.array([10.0])) == pytest.approx([1.2, 1.6])
    assert shortest(np.eye(2), np.array([1.0, 2.0])) == pytest.approx([1, 2])
    assert shortest(np.eye(2), np.array([1.0, -2.0])) == pytest.approx([1, 0])
    assert shortest(np.eye(2), np.array([0.0, -2.0])) == pytest.approx([0, 0])
    assert np.isnan(shortest(np.array([[1.0], [-1.0]]), np.array([1.0, 1.0]))).all()
    assert np.isnan(shortest(np.array([[1.0, 0], [0, 0]]), np.array([1.0, 1.0]))).all()
    assert shortest(np.array([[1.0, 0], [0, 0]]), np.array([1.0, -1.0])) == pytest.approx([1, 0])


def test_leads_are_those_of_the_farthest_sample():
    logits = torch.tensor([[5.0, 1], [2, 0], [0, 3]])
    assert largest_leads(logits).tolist() == [[0, 3], [4, 0]]


def test_a_share_of_every_class_is_that_which_the_network_is_least_sure_of():
    logits = torch.tensor([[5.0, 1], [0, 3], [2, 0], [0, 1]])
    assert sorted(least_sure(logits, 1.0).tolist()) == sorted(logits.tolist())
    assert sorted(least_sure(logits, 0.5).tolist()) == [[0, 1], [2, 0]]
    assert sorted(least_sure(logits, 0.01).tolist()) == [[0, 1], [2, 0]]


def network(gain: float, features: int = 12) -> nn.Sequential:
    """Class c is feature c, and the last feature leads to class 2 by `gain`; no input has it."""
    last = nn.Linear(features, 5)
    with torch.no_grad():
        last.weight.zero_()
        last.weight[:, :5] = torch.eye(5)
        last.weight[2, -1] = gain
        last.bias.copy_(torch.linspace(0, 0.01, 5))
    return nn.Sequential(nn.Flatten(), nn.ReLU(), last)


def samples(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 5
    inputs = 0.2 * torch.rand(count, 12, generator=torch.Generator().manual_seed(0))
    inputs[torch.arange(count), labels] += 0.7
    inputs[:, -1] = 0
    return inputs, labels


def scanned(gain: float, given=None, **options) -> mmbd.Report:
    model = mmbd.Classifier(network(gain), input_shape=(12,))
    return mmbd.scan(model, detector="latent-shift", samples=given or samples(), **options)


def test_a_feature_that_only_a_trigger_has_is_found_from_the_weights():
    clean, planted = scanned(0.0), scanned(8.0)
    assert clean.verdict == "not evaluable"
    assert clean.finding.score == pytest.approx(1.05, abs=0.1)
    assert (planted.verdict, planted.targets) == ("backdoored", (2,))
    assert planted.finding.test is not None
    assert planted.finding.test.threshold == 2.0
    assert scanned(8.0, threshold=50.0).verdict == "not evaluable"
    column = planted.finding.columns[0]
    assert (column.unit, column.suspicious) == ("mean feature lengths", "low")


def test_the_shift_puts_all_samples_into_the_class_and_hardly_any_shorter_does():
    inputs = samples()[0]
    layer = network(8.0)[2].double()
    weight, bias = layer.weight.detach(), layer.bias.detach()
    logits = inputs.double() @ weight.T + bias
    basis = np.linalg.qr(weight.numpy().T)[0]
    for label, shift in enumerate(shortest_shifts(weight, largest_leads(logits))):
        moved = inputs.double() + torch.tensor(basis @ shift)
        values = moved @ weight.T + bias
        margins = values[:, [label]] - torch.cat((values[:, :label], values[:, label + 1 :]), 1)
        assert float(margins.min()) == pytest.approx(0, abs=1e-9)


def test_samples_predicted_wrongly_are_left_out_and_counted():
    inputs, labels = samples()
    report = scanned(
        8.0, (torch.cat((inputs, 50 * inputs[:1].clamp(0, 0.02))), torch.cat((labels, labels[1:2])))
    )
    assert report.finding.facts["samples_wrong"] == 1
    assert report.finding.facts["samples_used"] == 20
    assert report.finding.score == pytest.approx(scanned(8.0).finding.score)


@pytest.mark.parametrize("options", [{"threshold": 0.5}, {"share": 0.0}, {"share": 1.5}])
def test_senseless_options(options):
    with pytest.raises(ValueError, match="threshold must be at least 1 and share in"):
        scanned(1.0, **options)


def test_classes_that_no_shift_reaches_are_marked_and_left_out():
    """Class 1 lies between class 0 and class 2 in one feature: it never wins for all samples."""
    last = nn.Linear(1, 4)
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
        last.bias.copy_(torch.tensor([0.0, -0.2, -0.7, -1.5]))
    model = mmbd.Classifier(nn.Sequential(nn.Flatten(), last), input_shape=(1,))
    inputs = torch.tensor([0.0, 0.1, 0.3, 0.4, 0.6, 0.7, 0.9, 1.0])[:, None]
    report = mmbd.scan(model, detector="latent-shift", samples=(inputs, model(inputs).argmax(1)))
    assert report.verdict == "not evaluable"
    assert "only 2 of 4 classes" in (report.reason or "")


def test_too_few_classes_and_no_last_layer():
    few = mmbd.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), input_shape=(12,))
    report = mmbd.scan(few, detector="latent-shift", samples=torch.rand(9, 12))
    assert "2 classes are too few" in (report.reason or "")
    scaled = mmbd.Classifier(lambda x: 3 * network(1.0)(x), input_shape=(12,))
    report = mmbd.scan(scaled, detector="latent-shift", samples=samples())
    assert "cannot be told" in (report.reason or "")
