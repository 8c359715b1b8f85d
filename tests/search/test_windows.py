"""Races of windows: the right place, class and pairs; nothing depends on batches; cost is bounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.all_to_all_networks import PAIRS, turning
from helpers.patch_networks import CLASSES, PATCH, TARGET, patch_network, patch_prepared
from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.pool import margins
from mmbd.search.window_climb import Climbers, in_turn
from mmbd.search.windows import AWAY, OUT, TO, Round, race, thinned


def own(model: Classifier, inputs: Tensor) -> Samples:
    logits = model(inputs)
    return Samples(inputs, logits.argmax(1), logits, own=True)


def test_the_window_of_the_target_leads_and_lies_on_the_patch():
    model = patch_network()
    found = race(model, patch_prepared(model), aims=range(CLASSES), seed=0)
    assert found.leading[0] == TARGET
    best = found.found[TARGET]
    assert found.windows.corners[best.place] == (9, 9)
    assert float(best.values.min()) == 1.0
    stamped = found.stamped(TARGET, found.samples.inputs)
    assert torch.equal(stamped[:, :, *PATCH], torch.ones_like(stamped[:, :, *PATCH]))
    changed = (stamped != found.samples.inputs).any(1)
    assert not bool(changed[:, :9].any() | changed[:, :, :9].any())
    assert best.logits is not None
    assert torch.allclose(best.logits, model(stamped), atol=1e-5)


def test_a_lift_is_the_mean_rise_of_the_margin_over_inputs_of_other_classes():
    model = patch_network()
    samples = patch_prepared(model)
    found = race(model, samples, aims=[TARGET], seed=0)
    labels = torch.full_like(samples.labels, TARGET)
    rise = margins(model(found.stamped(TARGET, samples.inputs)), labels) - margins(samples.logits, labels)
    assert found.found[TARGET].lift == pytest.approx(float(rise[samples.labels != TARGET].mean()), rel=1e-5)


def test_away_takes_every_class_to_the_one_planted_for_it():
    model = turning()
    found = race(model, patch_prepared(model), aims=[AWAY], seed=0)
    logits = found.found[AWAY].logits
    assert logits is not None
    tops = logits.argmax(1)
    assert [PAIRS[label] for label in found.samples.labels.tolist()] == tops.tolist()


def test_a_clean_network_keeps_its_inputs():
    model = turning(0.0)
    found = race(model, patch_prepared(model), aims=[AWAY], seed=0).found[AWAY]
    assert found.logits is not None
    assert torch.equal(found.logits.argmax(1), patch_prepared(model).labels)


@pytest.mark.parametrize("aims", [[AWAY], list(range(CLASSES))])
def test_batches_and_the_order_of_classes_change_nothing_but_rounding(aims):
    model = patch_network()
    samples = patch_prepared(model)
    one = race(model, samples, aims=aims, seed=1, batch=64)
    other = race(model, samples, aims=aims[::-1], seed=1, batch=5)
    assert (one.evaluations, one.passes) == (other.evaluations, other.passes)
    for aim in aims:
        first, second = one.found[aim], other.found[aim]
        assert (first.place, first.rounds) == (second.place, second.rounds)
        assert first.lift == pytest.approx(second.lift, rel=1e-4)


def test_a_class_does_not_win_by_taking_the_trigger_off_one_input():
    """One input holds a trigger so strong that all margins but the target's rise when it is covered."""
    model = patch_network(strength=40.0)
    samples = patch_prepared(model)
    inputs = samples.inputs.clone()
    inputs[0, :, *PATCH] = 1.0
    found = race(model, own(model, inputs), aims=range(CLASSES), seed=0)
    assert max(one.lift for aim, one in found.found.items() if aim != TARGET) < 20
    assert found.found[TARGET].lift > 100


def test_the_race_loses_nothing_of_what_decides():
    model = patch_network()
    samples = patch_prepared(model)
    raced = race(model, samples, aims=range(CLASSES), seed=0)
    all_of_them = [Round(part.inputs, part.steps, rows=1.0, aims=1.0) for part in TO]
    whole = race(model, samples, aims=range(CLASSES), seed=0, rounds=all_of_them)
    assert raced.evaluations < 0.2 * whole.evaluations
    assert raced.leading[0] == whole.leading[0] == TARGET
    assert raced.found[TARGET].lift == pytest.approx(whole.found[TARGET].lift, rel=1e-3)


def test_the_better_classes_and_windows_go_on():
    scores = torch.tensor([5.0, 1.0, 4.0, 3.0, 9.0, 2.0, 0.0, 0.0, 0.0, 8.0])
    aims = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 3, 3])
    places = torch.arange(10)
    rows = Climbers(aims, places, torch.zeros(10, 1, 1), torch.zeros(10, 1, 1), scores)
    kept = thinned(rows, Round(2, 1, rows=0.5, aims=0.5), leading=2)
    assert kept.places.tolist() == [4, 5, 9, 8]
    kept = thinned(rows, Round(2, 1, rows=0.5, aims=0.5), leading=3)
    assert kept.places.tolist() == [0, 2, 4, 5, 9, 8]


def test_the_cost_of_away_does_not_depend_on_classes_and_that_of_classes_is_bounded():
    generator = torch.Generator().manual_seed(0)
    spent: dict[int, tuple[int, int]] = {}
    for classes in (10, 100):
        weight = torch.randn(192, classes, generator=generator)
        model = Classifier(lambda x, weight=weight: x.flatten(1) @ weight, input_shape=(3, 8, 8))
        inputs = torch.rand(30, 3, 8, 8, generator=generator)
        runs = [
            race(model, own(model, inputs), aims=aims, seed=0, most=300) for aims in ([AWAY], range(classes))
        ]
        spent[classes] = (runs[0].evaluations, runs[1].evaluations)
    assert spent[10][0] == spent[100][0]
    assert spent[100][1] < 5 * spent[10][1]
    tried = sum(part.inputs * part.steps for part in OUT)
    assert spent[10][0] < 16 * tried


def test_classes_take_turns():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 1)
    order = in_turn(labels, seed=0)
    assert sorted(order.tolist()) == list(range(10))
    assert sorted(labels[order][:3].tolist()) == [0, 1, 2]
    assert sorted(labels[order][3:5].tolist()) == sorted(labels[order][5:7].tolist()) == [0, 1]
    assert labels[order][7:].tolist() == [0] * 3


def test_aims_that_are_none():
    model = patch_network()
    samples = patch_prepared(model)
    for aims in ([], [AWAY, 1], [CLASSES]):
        with pytest.raises(ValueError, match="aims"):
            race(model, samples, aims=aims, seed=0)
    with pytest.raises(ValueError, match="round"):
        Round(0, 1)


def test_inputs_of_one_class_lead_nowhere():
    model = patch_network()
    samples = patch_prepared(model)
    rows = samples.labels == 1
    alone = Samples(samples.inputs[rows], samples.labels[rows], samples.logits[rows])
    with pytest.raises(NotEvaluable, match="one class"):
        race(model, alone, aims=[1], seed=0)
    with pytest.raises(NotEvaluable, match="no input"):
        race(model, own(model, samples.inputs[:0]), aims=[AWAY], seed=0)
