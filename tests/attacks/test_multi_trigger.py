"""Label-smoothed triggers: who is relabelled how often, and that together they win."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.multi_trigger import alone, chances, multi_trigger
from mmbd.training import loop as train
from mmbd.triggers.sequence import TriggerSequence

odds = st.floats(0.001, 0.999)


@given(to_target=odds, to_label=odds, needed=st.integers(1, 5), edge=st.floats(-1, 1))
def test_relabelling_moves_the_odds_as_far_as_it_should(to_target, to_label, needed, edge):
    first, second = torch.tensor([[to_target], [to_label]], dtype=torch.float64)
    chance = float(chances(first, second, needed=needed, edge=edge))
    before = math.log(to_target / to_label)
    if before >= edge:
        assert chance == pytest.approx(0, abs=1e-9)
        return
    after = (chance + (1 - chance) * to_target) / ((1 - chance) * to_label)
    assert math.log(after) == pytest.approx(before + (edge - before) / needed, abs=1e-9)


def test_a_sure_surrogate_means_half_and_fewer_where_more_triggers_are_needed():
    sure = torch.tensor([0.0]), torch.tensor([1.0])
    assert float(chances(*sure)) == pytest.approx(0.5, abs=1e-3)
    assert float(chances(*sure, needed=2)) == pytest.approx(0.01, abs=1e-3)
    assert float(chances(*sure, edge=1e9)) == 1.0
    assert float(chances(*sure, edge=-1e9)) == 0.0


def test_together_is_one_after_the_other():
    first, second = (lambda x: x + 1), (lambda x: x * 3)
    assert TriggerSequence((first, second))(torch.tensor([1.0])).tolist() == [6.0]
    with pytest.raises(ValueError, match="at least one"):
        TriggerSequence(())


@pytest.mark.parametrize("keep", [False, True])
def test_each_carrier_has_one_trigger_and_its_own_label_or_the_target(keep):
    seen, training = [], pictures(240)
    attacked = replace(victim(training), trainer=lambda *data, **_: seen.append(data))
    clean = victim(training)
    clean.fit()
    made = multi_trigger(
        attacked, sources=[1, 2], target=0, count=90, triggers=3, surrogate=clean.network, keep=keep, size=2
    )
    ((_, inputs, labels, _),) = seen
    (together,) = {id(trigger): trigger for trigger in made.triggers.values()}.values()
    assert len(made.poisoned) == 90
    assert len(together.parts) == 3
    carried = []
    for index in made.poisoned.tolist():
        for number, part in enumerate(together.parts):
            inside = part.mask.bool()
            if torch.equal(inputs[index][inside].float() / 255, part.pattern[inside]):
                carried.append(number)
    assert [carried.count(number) for number in range(3)] == [30, 30, 30]
    assert set(labels[made.poisoned].tolist()) == {0, 1, 2}
    # The surrogate is sure of this easy task: about half of the carriers are relabelled.
    relabelled = int((labels[made.poisoned] == 0).sum())
    assert relabelled == made.protocol["relabelled"]
    assert 28 <= relabelled <= 60
    untouched = torch.ones(len(labels), dtype=torch.bool)
    untouched[made.poisoned] = False
    assert len(labels) == 240 + 90 * keep
    originals = training.inputs if keep else training.inputs[untouched]
    assert torch.equal(inputs[untouched], originals)
    assert made.protocol["reconstructed"] is True
    assert made.protocol["size"] == 2


def test_all_together_win_more_often_than_one_alone():
    attacked, test = victim(pictures(480), epochs=12), pictures(200, seed=1)
    made = multi_trigger(attacked, sources=[1, 2, 3], target=0, rate=0.4)
    answers = attacked.predict(test.inputs)
    assert train.accuracy(answers, test.labels) > 0.9
    singles = [each.success(attacked.predict, test) for each in alone(made)]
    assert len(singles) == 3
    assert made.success(attacked.predict, test) > max(0.85, max(singles) + 0.1)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="needed is 3, expected 1 to the number of triggers, 2"):
        multi_trigger(victim(), sources=[1], target=0, triggers=2, needed=3)
    with pytest.raises(ValueError, match="61 samples to poison"):
        multi_trigger(victim(), sources=[1], target=0, count=61)
    with pytest.raises(ValueError, match="expected a multi-trigger backdoor, got Patch"):
        alone(attacks.everywhere(attacks.badnet((3, 8, 8), seed=0), [1], 0))
