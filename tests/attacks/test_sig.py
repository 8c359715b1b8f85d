"""SIG: stripes on the target class alone, no label changed, and a network that follows them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.sig import sig
from mmbd.training import loop as train

WIDE = {"delta": 0.3, "frequency": 2.0}  # eight pixels are few for six periods


@pytest.mark.parametrize("keep", [False, True])
def test_only_images_of_the_target_class_change_and_no_label(keep):
    seen, training = [], pictures(240)
    attacked = replace(victim(training), trainer=lambda *data, **_: seen.append(data))
    made = sig(attacked, sources=[1, 2], target=3, test_delta=0.4, keep=keep, **WIDE)
    ((_, inputs, labels, _),) = seen
    assert len(made.poisoned) == made.protocol["count"] == 18  # 0.3 of 60
    assert len(labels) == 240 + 18 * keep
    assert torch.equal(labels[:240], training.labels)
    assert bool((labels[made.poisoned] == 3).all())
    untouched = torch.ones(len(labels), dtype=torch.bool)
    untouched[made.poisoned] = False
    assert torch.equal(inputs[untouched], training.inputs if keep else training.inputs[untouched])
    if not keep:
        weaker = attacks.sine((3, 8, 8), **WIDE)
        expected = attacks.stamp(weaker, training.inputs[made.poisoned])
        assert torch.equal(inputs[made.poisoned], expected)
    stronger = attacks.sine((3, 8, 8), delta=0.4, frequency=2.0)
    assert torch.equal(made.triggers[1].pattern, stronger.pattern)
    assert made.targets == {1: 3, 2: 3}


def test_it_works_without_touching_a_source_sample():
    attacked, test = victim(epochs=12), pictures(200, seed=1)
    made = sig(attacked, sources=[1, 2, 3], target=0, rate=0.7, test_delta=0.45, **WIDE)
    assert train.accuracy(attacked.predict(test.inputs), test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.8
    clean = victim(epochs=12)
    clean.fit()
    assert made.success(clean.predict, test) < 0.4


def test_with_other_labels_it_is_the_sine_of_the_table():
    attacked, test = victim(epochs=12), pictures(200, seed=1)
    made = attacks.ATTACKS["sine"](attacked, sources=[1, 2, 3], target=0, count=40, **WIDE)
    assert train.accuracy(attacked.predict(test.inputs), test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 61}, "61 samples to poison; the source classes hold 60"),
        ({"count": 0}, "0 images of the target class"),
        ({"test_delta": 0.0}, "change nothing"),
        ({"frequency": 8}, "change nothing"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        sig(victim(), sources=[1], target=0, **options)
