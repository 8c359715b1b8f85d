"""The record of an estimation: that it adds up, and models and callers of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.toy_networks import SHORT, convolutional, linear, linear_optimum, smooth
from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search import memory, pool
from mmbd.search.maximum_margins import METHODS, maximum_margins

METHOD_NAMES = sorted(METHODS)


# --------------------------------------------------------------------------------- bookkeeping


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_record_adds_up(method):
    clf = convolutional()
    found = maximum_margins(clf, method=method, **SHORT[method])
    restarts, limit = found.ascent.restarts, found.ascent.steps
    assert found.margins.shape == found.steps.shape == found.zero_gradient.shape == (5, restarts)
    assert torch.equal(found.statistics, found.margins.amax(1))
    assert found.valid.tolist() == [True] * 5
    assert found.evaluations == int(found.steps.sum())
    assert bool((found.steps <= limit).all())
    assert bool(((found.steps < limit) <= found.converged).all())
    assert found.oom_retries == 0
    assert found.seconds > 0
    for label in range(5):
        best = int(found.margins[label].argmax())
        assert len(found.curves[label]) == found.steps[label, best]
        assert max(found.curves[label]) == found.statistics[label]
        with clf.frozen(), torch.no_grad():
            logits = clf(found.inputs[label][None])
        margin = float(pool.margins(logits, torch.tensor([label])))
        assert margin == pytest.approx(float(found.statistics[label]), rel=1e-4)


def test_progress_is_told():
    clf, seen = smooth(), []
    found = maximum_margins(clf, batch=5, progress=seen.append)
    assert {(p.stage, p.unit) for p in seen} == {("maximum margins", "gradient evaluations")}
    assert {p.note.partition(" ")[2] for p in seen} == {"of 4 classes"}
    for field in ("note", "done", "seconds"):
        values = [getattr(p, field) for p in seen]
        assert values == sorted(values)
    assert seen[-1].done == found.evaluations
    assert all(p.done <= p.total for p in seen)
    assert all(p.seconds_left >= 0 for p in seen)


def test_interrupting_restores_the_model():
    clf = convolutional()
    clf.model.train()
    clf.model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in clf.model.state_dict().items()}

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maximum_margins(clf, progress=interrupt)
    assert all(module.training for module in clf.model.modules())
    assert [p.requires_grad for p in clf.model.parameters()][:2] == [False, True]
    assert all(torch.equal(value, before[k]) for k, value in clf.model.state_dict().items())


def test_the_model_is_left_alone_after_success_too():
    clf = convolutional()
    clf.model.train()
    before = {name: value.clone() for name, value in clf.model.state_dict().items()}
    maximum_margins(clf)
    assert all(module.training for module in clf.model.modules())
    assert all(p.requires_grad and p.grad is None for p in clf.model.parameters())
    assert all(torch.equal(value, before[k]) for k, value in clf.model.state_dict().items())


def test_memory_limits_the_batch_and_nothing_else():
    clf = convolutional()
    with clf.frozen():
        need = memory.bytes_per_search(clf)
        assert memory.batch_size(clf, 0, most=20) == 1
        assert memory.batch_size(clf, 6 * need, most=20) == 6
        assert memory.batch_size(clf, 10**12, most=20) == 20
    # At the least, the first convolution's output of 8 channels is kept for the way back.
    assert need > 8 * 12 * 12 * 4
    found = maximum_margins(clf, memory_limit=3 * need)
    assert found.batch == 3
    torch.testing.assert_close(found.statistics, maximum_margins(clf).statistics, rtol=1e-2, atol=1e-6)


def test_memory_ignores_weights():
    # 24 kB of weights, which do not grow with the batch, and one hidden layer of 2 kB that does.
    clf = Classifier(nn.Sequential(nn.Linear(8, 512), nn.ReLU(), nn.Linear(512, 4)), input_shape=(8,))
    with clf.frozen():
        assert 512 * 4 <= memory.bytes_per_search(clf) < 8000


@pytest.mark.parametrize(("hidden", "batch"), [(8, 512), (12_000, 346), (100_000, 64)])
def test_small_networks_take_large_batches(hidden, batch):
    clf = Classifier(nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, 4)), input_shape=(8,))
    with clf.frozen():
        quick = memory.quick_batch(clf)
    assert quick == pytest.approx(batch, rel=0.3)


# --------------------------------------------------------------------- what cannot be judged


def flat_class(x: torch.Tensor) -> torch.Tensor:
    """Class 0 constant and ahead, class 1 alive, class 2 dead everywhere in [0, 1]."""
    alive = x.flatten(1).sum(1) / 100
    return torch.stack((torch.full_like(alive, 10.0), alive, torch.relu(x.flatten(1).amax(1) - 2) - 3), dim=1)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_classes_without_any_gradient_are_not_valid(method):
    clf = Classifier(flat_class, input_shape=(8,))
    found = maximum_margins(clf, method=method, **SHORT[method])
    assert found.valid.tolist() == [True, True, False]
    assert bool(found.zero_gradient[2].all())
    assert not bool(found.zero_gradient[:2].any())
    assert found.statistics[2] == -13  # the margin of noise, for the record


def test_one_live_restart_makes_a_class_valid():
    def half_dead(x):
        alive = torch.relu(x[:, :1] - 0.5)
        return torch.cat((alive, torch.zeros(len(x), 1), torch.full((len(x), 1), -1.0)), dim=1)

    found = maximum_margins(Classifier(half_dead, input_shape=(4,)), restarts=12)
    assert 0 < int(found.zero_gradient[0].sum()) < 12
    assert bool(found.valid[0])
    assert found.statistics[0] == pytest.approx(0.5)


def test_a_constant_model_ends_without_a_division_by_zero():
    clf = Classifier(lambda x: x.flatten(1)[:, :1] * torch.zeros(5), input_shape=(8,))
    found = maximum_margins(clf)
    assert not bool(found.valid.any())
    assert found.statistics.tolist() == [0.0] * 5


def test_nan_and_no_gradient_are_not_evaluable():
    model = linear(3, 50)

    def growing(x):
        logits = model(x.double())
        return torch.where(logits.amax(1, keepdim=True) > 10, torch.nan, logits)

    clf = Classifier(growing, input_shape=(50,))
    assert all(linear_optimum(model, label) > 15 for label in range(3))
    for options in ({}, {"method": "paper", "size": 0.1, "restarts": 2}):
        with pytest.raises(NotEvaluable, match=r"margin of class \d became nan"):
            maximum_margins(clf, **options)
    detached = Classifier(lambda x: linear(3, 8)(x.double()).detach(), input_shape=(8,))
    with pytest.raises(NotEvaluable, match="no gradient"):
        maximum_margins(detached)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "slow"}, ValueError, "unknown method 'slow'; known: fast, paper"),
        ({"classes": []}, ValueError, r"classes must be among 0\.\.3"),
        ({"classes": [4]}, ValueError, r"classes must be among 0\.\.3, got \[4\]"),
        ({"classes": [-1]}, ValueError, r"classes must be among 0\.\.3"),
        ({"restarts": 0}, ValueError, "at least 1"),
        ({"restart": 3}, TypeError, "restart"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        maximum_margins(smooth(), **options)


# --------------------------------------------------------- callers and models of every kind


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients_get_the_same_answer(context):
    clf = convolutional()
    reference = maximum_margins(clf, memory_limit=200_000)
    with context():
        found = maximum_margins(clf, memory_limit=200_000)
    assert found.batch == reference.batch < 20
    assert torch.equal(found.margins, reference.margins)


def test_a_model_that_works_in_place_is_scanned_all_the_same():
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(12, 4)]
    clean = Classifier(nn.Sequential(nn.ReLU(), *layers), input_shape=(3, 2, 2), bounds=(-1, 1))
    hasty = Classifier(nn.Sequential(nn.ReLU(inplace=True), *layers), input_shape=(3, 2, 2), bounds=(-1, 1))
    for options in ({}, {"method": "paper", "constraint": "clamp", "restarts": 2, "steps": 20}):
        first, second = maximum_margins(clean, **options), maximum_margins(hasty, **options)
        assert torch.equal(first.margins, second.margins)
        for label in range(4):
            assert torch.equal(first.inputs[label], second.inputs[label])


WEIGHT = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "model",
    [
        lambda x: torch.from_numpy(x.numpy() @ WEIGHT.numpy().T),
        pytest.param(lambda x: WEIGHT.clone().requires_grad_().sum(1).expand(len(x), 5)),
    ],
    ids=["numpy", "deaf"],
)
def test_models_that_cut_the_gradient_are_not_evaluable(model):
    with pytest.raises(NotEvaluable, match="no gradient"):
        maximum_margins(Classifier(model, input_shape=(8,)))


@pytest.mark.parametrize("batch", [-1, 0])
def test_the_batch_must_be_positive(batch):
    with pytest.raises(ValueError, match="batch"):
        maximum_margins(smooth(), batch=batch)


def test_the_last_progress_is_the_whole():
    seen = []
    maximum_margins(smooth(), progress=seen.append)
    assert seen[-1].done == seen[-1].total
    assert seen[-1].note == "4 of 4 classes"
    assert seen[-1].seconds_left == 0
