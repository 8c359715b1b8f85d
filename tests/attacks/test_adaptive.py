"""Adaptive fine-tuning: the target's statistic falls, the others' rise, the backdoor stays."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.adaptive import adaptive
from mmbd.training import loop as train

SOURCES, TARGET = [1, 2, 3], 0
TEST = pictures(100, seed=5)


@cache
def attacked(**options):
    made = victim()
    backdoor = adaptive(
        made, sources=SOURCES, target=TARGET, trigger=attacks.badnet, count=40, epochs=6, refresh=3, **options
    )
    return made, backdoor


def shares(backdoor) -> list[float]:
    """How much larger each class's statistic is than before."""
    statistics = backdoor.protocol["statistics"]
    return [b / a for a, b in zip(statistics["before"], statistics["after"], strict=True)]


def quality(made, backdoor) -> tuple[float, float]:
    predictions = made.predict(TEST.inputs)
    return train.accuracy(predictions, TEST.labels), backdoor.success(made.predict, TEST)


def test_the_target_s_statistic_falls_and_the_backdoor_stays():
    target, *others = shares(attacked(beta=2e-3)[1])
    assert target < 0.9
    assert min(others) > 1
    accuracy, success = quality(*attacked(beta=2e-3))
    assert accuracy > 0.95
    assert success > 0.9


def test_without_weight_nothing_falls():
    assert min(shares(attacked(beta=0.0)[1])) > 1


def test_the_stronger_form_raises_all_others():
    plain, strong = (shares(attacked(beta=b, raise_others=r)[1]) for b, r in ((0.0, False), (2e-3, True)))
    assert all(b > 1.15 * a for a, b in zip(plain[1:], strong[1:], strict=True))
    assert strong[0] < plain[0]


def test_it_starts_from_the_classical_attack_and_keeps_what_it_says():
    backdoor = attacked(beta=2e-3)[1]
    made = victim()
    classical = attacks.classic(made, sources=SOURCES, target=TARGET, trigger=attacks.badnet, count=40)
    assert torch.equal(classical.poisoned, backdoor.poisoned)
    assert classical.targets == backdoor.targets
    protocol = json.loads(json.dumps(backdoor.protocol))
    assert classical.protocol.items() <= protocol.items()
    assert protocol["beta"] == 2e-3
    assert protocol["lr"] == pytest.approx(made.recipe.lr / 10)
    assert len(protocol["gradient_norms"]["margins"]) >= 10


def test_the_poisoned_share_is_what_is_drawn(monkeypatch):
    drawn = []
    fit = train.fit

    def spy(network, inputs, labels, recipe, **options):
        drawn.append((inputs, labels, options.get("sample_weights")))
        fit(network, inputs, labels, recipe, **options)

    made = replace(victim(epochs=1), trainer=spy)
    backdoor = adaptive(
        made, sources=SOURCES, target=TARGET, trigger=attacks.badnet, count=40, keep=True, poisoned_share=0.25
    )
    (first_inputs, first_labels, first_weights), (inputs, labels, weights) = drawn
    assert first_weights is None
    assert torch.equal(first_inputs, inputs)  # fine-tuned on the very set it was attacked with
    assert torch.equal(first_labels, labels)
    assert len(weights) == 280
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[backdoor.poisoned].sum()) == pytest.approx(0.25)
    assert len(weights.unique()) == 2


@pytest.mark.parametrize(("raise_others", "beta"), [(False, 1e-4), (True, 1e-5)])
def test_the_paper_s_weights_are_the_defaults(raise_others, beta):
    backdoor = adaptive(
        victim(epochs=1),
        sources=SOURCES,
        target=TARGET,
        trigger=attacks.badnet,
        count=4,
        raise_others=raise_others,
    )
    assert backdoor.protocol["beta"] == beta
    assert backdoor.protocol["raise_others"] == raise_others


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_must_be_a_share(share):
    with pytest.raises(ValueError, match="poisoned_share must be between 0 and 1"):
        adaptive(victim(), sources=SOURCES, target=0, trigger=attacks.badnet, poisoned_share=share)
