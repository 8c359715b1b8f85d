"""Marks on clean samples: planted warps and pairs are found, and counted on samples not searched on."""

from __future__ import annotations

import pytest
import torch

from helpers import horizon_networks
from helpers.all_to_all_networks import PAIRS, turning
from helpers.counted_gradients import Counted, convolutional
from helpers.horizon_networks import horizon_network, horizon_samples
from helpers.patch_networks import patch_prepared
from mmbd.base.errors import TooFewInputs
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare
from mmbd.search.marks import paired
from mmbd.search.marks_on_samples import (
    OnSamples,
    Search,
    chosen,
    evaluations_on_samples,
    halves,
    marks_on_samples,
)
from mmbd.search.perturbation_race import Lap
from mmbd.search.windows import Round

FEW = Search(
    to=(Round(2, 1, rows=0.1), Round(4, 1)),
    away=(Round(4, 1, rows=0.1), Round(8, 1)),
    flows=(Lap(4, 4, 3), Lap(8, 8, 3)),
)


def found(model: Classifier, samples: Samples, **changes: object) -> OnSamples:
    with model.frozen():
        return marks_on_samples(model, samples, **{"seed": 0, "search": FEW} | changes)


def horizon(strength: float, per_class: int = 10) -> OnSamples:
    model = horizon_network(strength)
    return found(model, prepare(model, *horizon_samples(per_class)))


def test_a_planted_warp_takes_samples_that_it_was_not_searched_on():
    seen = horizon(4.0)
    target = horizon_networks.TARGET
    assert seen.flow is not None
    assert float(seen.flow.shares[target]) == 1.0
    assert float(seen.flow.shares.sort().values[-2]) == 0.0
    assert len(seen.flow.samples.labels) == 30
    assert seen.flow.logits.shape[1] == 30
    clean = horizon(0.0)
    assert clean.flow is not None
    assert float(clean.flow.shares.max()) == 0.0


def test_a_patch_of_all_classes_is_found_with_its_pairs():
    model = turning()
    pairs, share = paired(found(model, patch_prepared(model, 60)).went)
    assert (pairs, share) == (PAIRS, 1.0)


def test_samples_that_the_model_gets_wrong_and_more_than_enough_are_left_out():
    model = horizon_network()
    inputs, labels = horizon_samples(14)
    labels[:6] = labels[:6].roll(1)  # one of each class is wrong
    samples = prepare(model, inputs, labels)
    kept = chosen(samples, seed=0)
    assert bool(kept.correct.all())
    assert kept.labels.bincount().tolist() == [10] * 6
    for start in range(0, 60, 6):  # in turn
        assert len(kept.labels[start : start + 6].unique()) == 6
    assert chosen(samples, seed=0, per_class=3).labels.bincount().tolist() == [3] * 6
    assert not torch.equal(chosen(samples, seed=1).inputs, kept.inputs)


@pytest.mark.parametrize(("per_class", "apart"), [(3, False), (4, True), (10, True)])
def test_with_few_samples_all_are_searched_on_and_counted(per_class: int, apart: bool):
    model = horizon_network()
    kept = chosen(prepare(model, *horizon_samples(per_class)), seed=0)
    used, counted = halves(kept, 6)
    assert (used is kept and counted is kept) != apart
    if apart:
        assert torch.equal(torch.cat([used.inputs, counted.inputs]), kept.inputs)
        assert len(used.labels.unique()) == len(counted.labels.unique()) == 6


def test_only_some_classes_are_led_to():
    model = horizon_network(4.0)
    seen = found(model, prepare(model, *horizon_samples()), classes=[1, horizon_networks.TARGET])
    assert {1, horizon_networks.TARGET} <= set(seen.to.found)
    assert len(seen.to.found) <= 3
    assert seen.flow is not None
    assert float(seen.flow.shares[horizon_networks.TARGET]) == 1.0
    assert bool(
        (seen.window_lifts(6)[[label for label in range(6) if label not in seen.to.found]] == 0).all()
    )


@pytest.mark.parametrize("classes", [5, 15])
def test_evaluations_are_counted_to_the_last_and_about_as_many_as_forecast(classes: int):
    counted = Counted(convolutional(classes))
    model = Classifier(counted, input_shape=(3, 32, 32))
    labels = torch.arange(classes).repeat(4)
    inputs = torch.rand(len(labels), 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(
        labels, classes
    ).float()  # what a network of random weights would not say
    told: list[int] = []
    counted.reset()
    seen = found(model, Samples(inputs, labels, logits), progress=told.append, search=Search())
    assert counted.evaluations == seen.evaluations == told[-1]
    assert told == sorted(told)
    assert seen.evaluations == pytest.approx(evaluations_on_samples(classes), rel=0.35)


def test_batches_change_nothing_but_rounding():
    model = horizon_network(4.0)
    samples = prepare(model, *horizon_samples())
    one, other = (found(model, samples, batch=batch) for batch in (512, 7))
    assert one.evaluations == other.evaluations
    assert torch.allclose(one.window_lifts(6), other.window_lifts(6), rtol=1e-3)
    assert torch.equal(one.went, other.went)
    assert one.flow is not None
    assert other.flow is not None
    assert torch.allclose(one.flow.shares, other.flow.shares, atol=0.05)


def test_sounds_have_windows_and_no_warps():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 5, generator=generator)
    model = Classifier(lambda x: x.flatten(1) @ weight, input_shape=(1, 300), bounds=(-1, 1))
    inputs = torch.rand(100, 1, 300, generator=generator) * 2 - 1
    assert found(model, prepare(model, inputs, fewest=0)).flow is None


def test_samples_of_two_classes_are_too_few():
    model = horizon_network()
    inputs, labels = horizon_samples()
    some = labels < 2
    logits = model(inputs[some])
    with pytest.raises(TooFewInputs, match="clean samples of 2 classes right, and 3 are needed"):
        found(model, Samples(inputs[some], labels[some], logits))
