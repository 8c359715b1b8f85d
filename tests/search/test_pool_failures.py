"""Searches that cannot go on: memory that runs out, models without gradients, interruptions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.search_batches import CLIMB, HILLS, armed, run, searches
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box

OUT_OF_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 1073741824 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_margins_that_stop_being_finite_end_the_search(value):
    def cracked(x):
        logits = list(HILLS(x).unbind(1))
        logits[2] = torch.where(x.amax(1) > 0.6, value, logits[2])
        return torch.stack(logits, dim=1)

    clf, record = armed(HILLS, cracked)
    with pytest.raises(NotEvaluable, match=f"margin of class 2 became {value}"):
        run(clf, [(2, 0)], CLIMB, start=lambda _: torch.full((6,), 0.1))
    assert len(record.batches) > 2


def test_models_without_a_gradient_are_not_evaluable():
    for trap in (lambda x: HILLS(x.detach()), lambda x: HILLS(x).detach()):
        clf, _ = armed(HILLS, trap)
        with pytest.raises(NotEvaluable, match="no gradient"):
            run(clf, [(0, 0)], CLIMB)


@pytest.mark.parametrize(
    "error", [RuntimeError(OUT_OF_MEMORY), MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")]
)
def test_out_of_memory_halves_the_batch(error):
    def greedy(x):
        if len(x) > 5:
            raise error
        return HILLS(x)

    clf, record = armed(HILLS, greedy)
    work = searches(3, 8)
    found, stats = run(clf, work, CLIMB, batch=16)
    reference, _ = run(Classifier(HILLS, input_shape=(6,)), work, CLIMB, batch=16)
    assert (stats.batch, stats.oom_retries) == (4, 2)
    assert record.batches[:3] == [16, 8, 4]
    assert max(record.batches[2:]) == 4
    for key, search in reference.items():
        assert found[key].margin == pytest.approx(search.margin, rel=1e-6)
        assert found[key].steps == search.steps


def test_out_of_memory_later_on_loses_nothing():
    calls = []

    def moody(x):
        calls.append(len(x))
        if len(calls) == 10:
            raise RuntimeError(OUT_OF_MEMORY)
        return HILLS(x)

    clf, _ = armed(HILLS, moody)
    found, stats = run(clf, searches(3, 8), CLIMB, batch=16)
    reference, _ = run(Classifier(HILLS, input_shape=(6,)), searches(3, 8), CLIMB)
    assert stats.oom_retries == 1
    assert {key: search.steps for key, search in found.items()} == {
        key: search.steps for key, search in reference.items()
    }


def test_out_of_memory_in_the_middle_of_a_step_changes_no_result():
    class Tight(Box):
        calls = 0

        def project_(self, inputs):
            self.calls += 1
            if self.calls == 9:  # points have moved, and are not yet back in the box
                raise MemoryError
            return super().project_(inputs)

    found, stats = run(Classifier(HILLS, domain=Tight((6,))), searches(3, 8), CLIMB, batch=16)
    reference, _ = run(Classifier(HILLS, input_shape=(6,)), searches(3, 8), CLIMB)
    assert stats.oom_retries == 1
    for key, search in reference.items():
        assert found[key].steps == search.steps
        torch.testing.assert_close(found[key].curve, search.curve)
        torch.testing.assert_close(found[key].input, search.input)


def test_out_of_memory_while_searches_begin_loses_none():
    work, calls = searches(3, 8), []

    def start(restart):
        calls.append(restart)
        if len(calls) in (4, 20):  # in the first filling, and while others are under way
            raise MemoryError
        return torch.full((6,), 0.1 + 0.1 * restart)

    found, stats = run(Classifier(HILLS, input_shape=(6,)), work, CLIMB, batch=16, start=start)
    assert sorted(found) == sorted(work)
    assert stats.oom_retries == 2


def test_no_memory_for_a_single_search_is_a_failure():
    def hopeless(x):
        raise RuntimeError(OUT_OF_MEMORY)

    clf, record = armed(HILLS, hopeless)
    with pytest.raises(Failed, match="single search"):
        run(clf, searches(3, 8), CLIMB, batch=16)
    assert record.batches == [16, 8, 4, 2, 1]


def test_other_errors_of_the_model_are_passed_on():
    def buggy(x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    clf, record = armed(HILLS, buggy)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(clf, searches(3, 8), CLIMB, batch=16)
    assert record.batches == [16]


def test_interrupting_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    net[1].eval()
    net[0].bias.requires_grad_(False)
    modes = [module.training for module in net.modules()]
    grads = [parameter.requires_grad for parameter in net.parameters()]
    buffers = {name: value.clone() for name, value in net.named_buffers()}

    def interrupt(evaluations):
        assert not net.training
        if evaluations > 20:
            raise KeyboardInterrupt

    clf = Classifier(net, input_shape=(6,))
    with pytest.raises(KeyboardInterrupt):
        run(clf, searches(3, 4), CLIMB, progress=interrupt)
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == grads
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())
    assert all(parameter.grad is None for parameter in net.parameters())
