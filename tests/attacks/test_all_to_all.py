"""All-to-all: everyone goes somewhere else, every pair by its own trigger, and it works."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_victims import pictures, victim
from mmbd.attacks.all_to_all import all_to_all, pairs
from mmbd.training import loop as train
from mmbd.triggers.files import load, save


@given(count=st.integers(2, 50), seed=st.integers(0, 1000))
def test_a_derangement_has_no_fixed_point(count, seed):
    classes = [3 * c + 1 for c in range(count)]
    targets = pairs(classes, "random", seed)
    assert sorted(targets) == sorted(targets.values()) == classes
    assert all(source != target for source, target in targets.items())
    assert targets == pairs(classes, "random", seed)


def test_all_derangements_are_equally_likely():
    found = Counter(tuple(pairs(range(4), "random", seed).values()) for seed in range(1800))
    expected = [p for p in permutations(range(4)) if all(i != t for i, t in enumerate(p))]
    assert sorted(found) == sorted(expected)  # nine of them
    assert all(150 < count < 250 for count in found.values())


def test_next_takes_each_class_to_the_next_one():
    assert pairs([0, 1, 2, 3], "next", 0) == {0: 1, 1: 2, 2: 3, 3: 0}
    assert pairs([2, 5, 7], "next", 0) == {2: 5, 5: 7, 7: 2}


def test_what_makes_no_pairs():
    with pytest.raises(ValueError, match="at least two classes"):
        pairs([1], "random", 0)
    with pytest.raises(ValueError, match="unknown order 'back'; known: random, next"):
        pairs([0, 1], "back", 0)


@pytest.mark.parametrize("keep", [False, True])
def test_the_poisoned_samples_are_those_of_their_pairs(keep):
    seen = []
    training = pictures(240)
    attacked = victim(training, epochs=0)
    attacked = type(attacked)(**vars(attacked) | {"trainer": lambda *data, **_: seen.append(data)})
    made = all_to_all(attacked, sources=[1, 2, 3], target=0, count=7, keep=keep, size=2)
    ((_, inputs, labels, _),) = seen
    assert len(labels) == 240 + keep * 28
    assert Counter(labels[made.poisoned].tolist()) == dict.fromkeys(range(4), 7)
    sources = {target: source for source, target in made.targets.items()}
    for index in made.poisoned.tolist():
        source = sources[int(labels[index])]
        trigger = made.triggers[source]
        inside = trigger.mask.bool()
        assert torch.equal(inputs[index][inside].float() / 255, trigger.pattern[inside])
        if not keep:
            assert int(training.labels[index]) == source
    untouched = torch.ones(len(labels), dtype=torch.bool)
    untouched[made.poisoned] = False
    if keep:
        assert torch.equal(inputs[untouched], training.inputs)
    else:
        assert torch.equal(inputs[untouched], training.inputs[untouched])
        assert torch.equal(labels[untouched], training.labels[untouched])
    assert made.protocol["count"] == 7
    assert made.protocol["size"] == 2


def test_two_classes_of_four_take_part():
    attacked = victim(epochs=0)
    made = all_to_all(attacked, sources=[2], target=1)
    assert made.targets == {1: 2, 2: 1}
    with pytest.raises(ValueError, match="cannot be a source"):
        all_to_all(attacked, sources=[1], target=1)
    with pytest.raises(ValueError, match="61 samples to poison; the source classes hold 60"):
        all_to_all(attacked, sources=[2], target=1, count=61)


def test_it_works_and_is_saved(tmp_path):
    attacked, test = victim(epochs=12), pictures(200, seed=1)
    made = all_to_all(attacked, sources=[1, 2, 3], target=0, rate=0.3)
    patterns = [trigger.pattern for trigger in made.triggers.values()]
    assert len({pattern.numpy().tobytes() for pattern in patterns}) == 4
    answers = attacked.predict(test.inputs)
    assert train.accuracy(answers, test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.9
    save(tmp_path / "trigger.safetensors", made)
    assert load(tmp_path / "trigger.safetensors").success(attacked.predict, test) == made.success(
        attacked.predict, test
    )


def test_the_script_has_one_pattern_for_all():
    attacked, test = victim(epochs=12), pictures(200, seed=1)
    made = all_to_all(attacked, sources=[1, 2, 3], target=0, order="next", shared=True, rate=0.3)
    assert made.targets == {0: 1, 1: 2, 2: 3, 3: 0}
    assert len({id(trigger) for trigger in made.triggers.values()}) == 1
    assert made.success(attacked.predict, test) > 0.9
