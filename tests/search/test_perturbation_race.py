"""Races of perturbations: the planted class leads; nothing depends on batches or on other classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from helpers import additive_backdoors, flow_networks
from helpers.counted_gradients import Counted
from mmbd.base.errors import Failed, NotEvaluable, TooFewInputs
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare
from mmbd.search.made_up import made_up
from mmbd.search.perturbation_race import Lap, Raced, raced, recounted
from mmbd.search.pool import margins

# The size of changes, in extents an element, as `marks.Search` has it twice; and of a flow, in pixels.
ADDED = 0.06 * math.sqrt(math.prod(additive_backdoors.SHAPE))
FLOW = 0.0775 * flow_networks.SIDE * math.sqrt(32)


def added(model: Classifier, **changes: object) -> Raced:
    samples = prepare(model, *additive_backdoors.images(4))
    return raced(model, samples, "added", **{"radius": ADDED, "seed": 0} | changes)


def flows(model: Classifier, **changes: object) -> Raced:
    with model.frozen():
        samples = made_up("smooth", model, 12, seed=0, steps=15).samples
        return raced(model, samples, "flow", **{"radius": FLOW, "seed": 0} | changes)


def test_a_planted_added_change_leads_to_its_class():
    found = added(additive_backdoors.planted(40.0))
    target = additive_backdoors.TARGET
    assert int(found.found.targets[0]) == target
    assert float(found.shares[target]) > 0.9
    others = [value for label, value in enumerate(found.lifts.tolist()) if label != target]
    assert float(found.lifts[target]) > 2 * max(others)
    clean = added(additive_backdoors.planted(0.0))
    assert float(clean.shares.max()) < 0.5


def test_a_planted_flow_leads_to_its_class():
    found = flows(flow_networks.flow_network())
    assert int(found.found.targets[0]) == flow_networks.TARGET
    assert float(found.shares[flow_networks.TARGET]) == 1.0
    clean = flows(flow_networks.flow_network(0.0))
    assert float(clean.shares[flow_networks.TARGET]) < 0.5


def test_changes_are_no_larger_than_the_radius_and_do_what_is_said():
    model = additive_backdoors.planted(40.0)
    found = added(model)
    size = found.found.values.flatten(1).norm(dim=1)
    assert bool((size <= ADDED * (1 + 1e-5)).all())
    labels = found.samples.logits.argmax(1)
    for row, target in enumerate(found.found.targets.tolist()):
        which = torch.full((len(labels),), row)
        logits = model(found.found(found.samples.inputs, which)).detach()
        assert torch.allclose(logits, found.logits[row], atol=1e-5)
        others = labels != target
        share = (logits[others].argmax(1) == target).double().mean()
        assert float(found.shares[target]) == pytest.approx(float(share))
        goal = torch.full((int(others.sum()),), target)
        rise = margins(logits[others], goal) - margins(found.samples.logits[others], goal)
        usual = margins(found.samples.logits, labels).median()
        assert float(found.lifts[target]) == pytest.approx(float(rise.mean() / usual), rel=1e-5)


@pytest.mark.parametrize("run", [added, flows])
def test_batches_change_nothing_but_rounding(run):
    model = additive_backdoors.planted(40.0) if run is added else flow_networks.flow_network()
    whole, small, single = (run(model, batch=batch) for batch in (512, 7, 1))
    for other in (small, single):
        assert (other.evaluations, other.passes) == (whole.evaluations, whole.passes)
        assert torch.equal(other.found.targets, whole.found.targets)
        assert torch.allclose(other.found.values, whole.found.values, atol=1e-4)
        assert torch.allclose(other.lifts, whole.lifts, atol=1e-4)


def test_a_batch_is_never_exceeded_and_every_evaluation_is_counted():
    counted = Counted(additive_backdoors.planted(40.0).model)
    model = Classifier(counted, input_shape=additive_backdoors.SHAPE)
    told: list[int] = []
    for batch in (4, 50):
        samples = prepare(model, *additive_backdoors.images(4))
        counted.reset()
        with model.frozen():
            found = raced(model, samples, "added", radius=ADDED, seed=0, batch=batch, progress=told.append)
        assert counted.largest <= batch
        assert counted.evaluations == found.evaluations == told[-1]
    assert found.evaluations == 5 * 6 * 4 + 5 * 10 * 8


def test_a_class_does_not_depend_on_which_others_begin():
    model = additive_backdoors.planted(40.0)
    every, some = added(model), added(model, classes=[4, 2])
    assert float(some.lifts[2]) == pytest.approx(float(every.lifts[2]), rel=1e-4)
    assert some.found.targets.tolist()[0] == 2
    assert sorted(some.found.targets.tolist()) == [2, 4]
    assert some.lifts[[0, 1, 3]].tolist() == [-math.inf] * 3
    assert some.shares[[0, 1, 3]].tolist() == [0.0] * 3


def test_the_better_classes_go_on_and_the_race_loses_nothing_of_what_leads():
    model = additive_backdoors.planted(40.0)
    few = added(model, laps=(Lap(6, 4, 2), Lap(10, 8, 2)))
    whole = added(model, laps=(Lap(6, 4, 5), Lap(10, 8, 5)))
    assert len(few.found.targets) == 2
    assert few.evaluations == 5 * 6 * 4 + 2 * 10 * 8 < whole.evaluations
    target = additive_backdoors.TARGET
    assert few.found.targets.tolist()[0] == whole.found.targets.tolist()[0] == target
    assert float(few.lifts[target]) == pytest.approx(float(whole.lifts[target]), rel=1e-4)


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing_else():
    model = additive_backdoors.planted(40.0)

    def tight(x: Tensor) -> Tensor:
        if len(x) > 16 and armed:
            raise MemoryError
        return model.model(x)

    armed = False
    narrow = Classifier(tight, input_shape=additive_backdoors.SHAPE)
    samples = prepare(narrow, *additive_backdoors.images(4))
    armed = True
    found = raced(narrow, samples, "added", radius=ADDED, seed=0, batch=64)
    assert found.oom_retries == 2
    whole = added(model)
    assert found.evaluations == whole.evaluations
    assert torch.allclose(found.lifts, whole.lifts, atol=1e-4)


def test_not_even_one_input_fits():
    def full(x: Tensor) -> Tensor:
        if armed:
            raise MemoryError
        return x.flatten(1)[:, :5]

    armed = False
    model = Classifier(full, input_shape=additive_backdoors.SHAPE)
    samples = prepare(model, *additive_backdoors.images(4))
    armed = True
    with pytest.raises(Failed, match="single input"):
        raced(model, samples, "added", radius=ADDED, seed=0, batch=4)


def test_answers_that_are_not_finite_are_never_compared():
    plain = additive_backdoors.planted(40.0)
    samples = prepare(plain, *additive_backdoors.images(4))

    def breaking(x: Tensor) -> Tensor:
        logits = plain.model(x)
        return torch.where((x[:, 0, 5].std(1, keepdim=True) > 0.02) & armed, logits * torch.nan, logits)

    armed = False
    model = Classifier(breaking, input_shape=additive_backdoors.SHAPE)
    armed = True
    with pytest.raises(NotEvaluable, match="not all finite"):
        raced(model, samples, "added", radius=ADDED, seed=0)


def test_what_cannot_be_changed_so_or_leads_nowhere():
    vector = Classifier(lambda x: x[:, :4], input_shape=(9,))
    inputs = torch.rand(12, 9, generator=torch.Generator().manual_seed(0))
    samples = Samples(inputs, vector(inputs).argmax(1), vector(inputs))
    with pytest.raises(ValueError, match="flow"):
        raced(vector, samples, "flow", radius=1.0, seed=0)
    rows = samples.labels == 1
    alone = Samples(inputs[rows], samples.labels[rows], samples.logits[rows])
    with pytest.raises(TooFewInputs, match="one class"):
        raced(vector, alone, "added", radius=1.0, seed=0)


def test_what_was_found_is_counted_on_other_inputs():
    model = additive_backdoors.planted(40.0)
    samples = prepare(model, *additive_backdoors.images(4))
    halves = [samples.at(torch.arange(len(samples.labels)) % 2 == part) for part in (0, 1)]
    radius = {"radius": ADDED, "seed": 0}
    end = raced(model, halves[0], "added", **radius)
    again = recounted(model, end, halves[1], batch=3)
    assert again.samples is halves[1]
    assert torch.equal(again.lifts, end.lifts)
    assert (again.evaluations, again.passes) == (
        end.evaluations,
        end.passes + len(end.found.targets) * len(halves[1].labels),
    )
    for row, target in enumerate(again.found.targets.tolist()):
        others = halves[1].logits.argmax(1) != target
        which = torch.full((int(others.sum()),), row)
        went = model(again.found(halves[1].inputs[others], which)).argmax(1) == target
        assert float(again.shares[target]) == pytest.approx(float(went.double().mean()))
    assert again.found.success.tolist() == sorted(again.found.success.tolist(), reverse=True)
    same = recounted(model, end, halves[0])
    assert torch.equal(same.shares, end.shares)
    assert torch.equal(same.found.targets, end.found.targets)
