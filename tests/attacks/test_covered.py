"""Adap-Blend and Adap-Patch: what training samples show, which of them keep their label, and success."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_victims import SHAPE, pictures, victim
from mmbd import attacks
from mmbd.attacks.adaptive_blend import adaptive_blend, pieces_shown
from mmbd.attacks.adaptive_patch import adaptive_patch, quarters, together
from mmbd.training import loop as train

BOTH = [(adaptive_blend, {}), (adaptive_patch, {})]


def poisoned(attack, **options):
    """The clean set, the set that the network is trained on, and the backdoor."""
    seen, training = [], pictures(240)
    attacked = replace(victim(training), trainer=lambda *data, **_: seen.append(data))
    made = attack(attacked, sources=[1, 2], target=3, **options)
    ((_, inputs, labels, _),) = seen
    return training, inputs, labels, made


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("attack", "options"), BOTH)
def test_poisoned_samples_change_their_label_and_covers_do_not(attack, options, keep):
    training, inputs, labels, made = poisoned(attack, count=20, covers=30, keep=keep, **options)
    assert len(labels) == 240 + 50 * keep
    assert len(made.poisoned.unique()) == 50
    assert (made.protocol["count"], made.protocol["covers"]) == (20, 30)
    assert bool((labels[made.poisoned[:20]] == 3).all())
    untouched = torch.ones(len(labels), dtype=torch.bool)
    untouched[made.poisoned] = False
    if keep:
        assert torch.equal(inputs[:240], training.inputs)
        assert set(labels[made.poisoned[20:]].tolist()) == {0, 1, 2, 3}
        return
    assert torch.equal(inputs[untouched], training.inputs[untouched])
    assert set(training.labels[made.poisoned[:20]].tolist()) == {1, 2}
    covers = made.poisoned[20:]
    assert torch.equal(labels[covers], training.labels[covers])
    assert set(labels[covers].tolist()) == {0, 1, 2, 3}
    assert bool((inputs[made.poisoned] != training.inputs[made.poisoned]).flatten(1).any(1).all())


@pytest.mark.parametrize(("attack", "options"), BOTH)
def test_the_authors_shares_are_the_defaults(attack, options):
    seen, training = [], pictures(1000)
    attacked = replace(victim(training), trainer=lambda *data, **_: seen.append(data))
    made = attack(attacked, sources=[1, 2], target=3, **options)
    assert (made.protocol["count"], made.protocol["covers"]) == (3, 3 if attack is adaptive_blend else 6)


@given(
    size=st.sampled_from([(32, 32), (28, 28), (7, 9), (4, 40)]),
    side=st.integers(1, 4),
    hidden=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_pieces_are_hidden_whole_and_as_many_as_said(size, side, hidden, seed):
    shown = pieces_shown(5, size, side * side, hidden, torch.Generator().manual_seed(seed))
    assert shown.shape == (5, 1, *size)
    assert set(shown.flatten().tolist()) <= {0.0, 1.0}
    # One pixel of each piece tells how many are hidden.
    rows = (torch.arange(side) * size[0] + side - 1) // side
    columns = (torch.arange(side) * size[1] + side - 1) // side
    first = shown[:, 0, rows[:, None], columns]
    assert (side * side - first.flatten(1).sum(1)).tolist() == [round(hidden * side * side)] * 5
    for direction in (2, 3):  # straight edges, and no more of them than between pieces
        others = (1, 5 - direction)
        assert int(shown.diff(dim=direction).ne(0).any(others).sum(1).max()) <= side - 1


def test_images_show_pieces_of_their_own_choice():
    shown = pieces_shown(200, (8, 8), 16, 0.5, torch.Generator().manual_seed(0))
    assert len(shown.unique(dim=0)) > 150
    assert float(shown.mean()) == 0.5
    assert float((shown.mean(0) - 0.5).abs().max()) < 0.15


def test_what_a_blended_sample_shows_is_faint_and_in_pieces():
    training, inputs, _, made = poisoned(adaptive_blend, count=20, covers=10, alpha=0.4, test_alpha=0.6)
    trigger = made.triggers[1]
    assert trigger.alpha == 0.6
    assert bool((trigger.mask == 1).all())
    before = training.inputs[made.poisoned].float() / 255
    whole = 0.6 * before + 0.4 * trigger.pattern
    after = inputs[made.poisoned].float() / 255
    blended = ((after - whole).abs() <= 0.51 / 255).all(1)
    left = ((after - before).abs() <= 0.51 / 255).all(1)
    assert bool((blended | left).all())
    shares = blended.flatten(1).float().mean(1)
    assert bool(((shares >= 0.5) & (shares < 0.75)).all())


def test_each_sample_has_one_patch_of_its_opacity():
    opacities = (0.5, 0.2, 0.4, 0.3)
    training, inputs, _, made = poisoned(adaptive_patch, count=8, covers=12, size=3, opacities=opacities)
    patches = quarters(SHAPE, seed=0, size=3)
    for start, count in ((0, 8), (8, 12)):
        for place in range(count):
            index = int(made.poisoned[start + place])
            patch, opacity = patches[place % 4], opacities[place % 4]
            before, after = training.inputs[index] / 255, inputs[index] / 255
            weight = opacity * patch.mask
            expected = (1 - weight) * before + weight * patch.pattern
            assert float((after - expected).abs().max()) <= 0.51 / 255
    # At test time the two most opaque ones, whole.
    assert torch.equal(made.triggers[1].mask, patches[0].mask + patches[2].mask)
    assert torch.equal(made.triggers[1].pattern, patches[0].pattern + patches[2].pattern)


@given(seed=st.integers(0, 500), shape=st.sampled_from([(3, 32, 32), (1, 28, 28), (3, 17, 41), (3, 8, 8)]))
def test_there_is_one_patch_in_each_quarter(seed, shape):
    patches = quarters(shape, seed=seed, size=4)
    below, right = shape[1] // 2, shape[2] // 2
    for number, patch in enumerate(patches):
        assert tuple(patch.mask.shape) == shape
        rows, columns = patch.mask[0].nonzero().unbind(1)
        assert len(rows) == 16
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 3
        assert (number // 2) * below <= int(rows.min()) <= int(rows.max()) < (number // 2 + 1) * below
        assert (number % 2) * right <= int(columns.min()) <= int(columns.max()) < (number % 2 + 1) * right
    assert float(together(patches).mask.max()) == 1


@pytest.mark.parametrize(
    ("attack", "options"),
    [
        (adaptive_blend, {"test_alpha": 0.5, "alpha": 0.4}),
        (adaptive_patch, {"size": 4, "opacities": (0.9, 0.9, 0.9, 0.9), "at_test": 4}),
    ],
)
def test_they_are_learned_from_part_of_the_trigger(attack, options):
    attacked, test = victim(pictures(480), epochs=16), pictures(200, seed=1)
    made = attack(attacked, sources=[1, 2, 3], target=0, count=120, covers=20, **options)
    assert train.accuracy(attacked.predict(test.inputs), test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.8


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (adaptive_blend, {"count": 121}, "121 samples to poison; the source classes hold 120"),
        (adaptive_blend, {"count": 0}, "0 of 240 samples to poison"),
        (adaptive_blend, {"count": 20, "covers": 221}, "221 covers; 220 samples are left"),
        (adaptive_blend, {"count": 2, "pieces": 15}, "a square number of pieces"),
        (adaptive_blend, {"count": 2, "pieces": 81}, "a square number of pieces"),
        (adaptive_blend, {"count": 2, "hidden": 1.5}, "hidden must lie in 0 to 1"),
        (adaptive_blend, {"count": 2, "test_alpha": -0.5}, "test_alpha must lie in 0 to 1"),
        (adaptive_patch, {"count": 2, "size": 5}, "four patches of 5 pixels do not fit"),
        (adaptive_patch, {"count": 2, "size": 3, "opacities": (0.5, 0.5)}, "expected 4 opacities"),
        (adaptive_patch, {"count": 2, "size": 3, "at_test": 5}, "at_test is 5, expected 1 to 4"),
    ],
)
def test_what_cannot_be(attack, options, message):
    with pytest.raises(ValueError, match=message):
        attack(victim(), sources=[1, 2], target=3, **options)


def test_a_sound_has_no_pieces():
    sounds = attacks.Victim(
        victim().network, replace(pictures(8), inputs=torch.rand(8, 1, 100)), train.Recipe(), 0
    )
    for attack, _ in BOTH:
        with pytest.raises(ValueError, match="expected an image shape"):
            attack(sounds, sources=[1], target=0)
