"""Poisoning: the right number of the right images, and everything else untouched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_victims import pictures
from mmbd import attacks
from mmbd.attacks.poison import as_stored, choose, how_many, of_classes, poison, replaced, split_batch
from mmbd.data.dataset import Dataset
from mmbd.triggers import MAKERS

SHAPE = (3, 13, 13)
IMAGE_TRIGGERS = sorted(set(MAKERS) - {"sound", "insertion"})


def dataset(count: int = 60) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator).to(torch.uint8)
    return Dataset(images, torch.arange(count) % 5, tuple("abcde"))


@given(
    kind=st.sampled_from(IMAGE_TRIGGERS),
    target=st.integers(0, 4),
    others=st.sets(st.integers(0, 4), min_size=1),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_exactly_the_chosen_images_change(kind, target, others, share, seed):
    sources = sorted(others - {target})
    training, kept = dataset(), dataset()
    count = round(share * 12 * len(sources))
    trigger = MAKERS[kind](SHAPE, seed=seed)
    settings = {"sources": sources, "target": target, "count": count, "seed": seed}
    made, indices = poison(training, trigger, **settings)
    assert torch.equal(training.inputs, kept.inputs)  # the originals are left as they are
    assert torch.equal(training.labels, kept.labels)
    assert len(indices) == len(indices.unique()) == count
    assert set(training.labels[indices].tolist()) <= set(sources)
    assert bool((made.labels[indices] == target).all())
    assert made.inputs.dtype == torch.uint8
    assert torch.equal(made.inputs[indices], attacks.stamp(trigger, training.inputs[indices]))
    rest = torch.ones(len(training), dtype=torch.bool)
    rest[indices] = False
    assert torch.equal(made.inputs[rest], training.inputs[rest])
    assert torch.equal(made.labels[rest], training.labels[rest])
    again, places = poison(training, trigger, **settings)
    assert torch.equal(places, indices)
    assert torch.equal(again.inputs, made.inputs)


def test_all_of_the_sources_can_be_poisoned_and_the_seed_picks():
    training, trigger = dataset(), attacks.badnet(SHAPE, seed=0)

    def picks(count: int, seed: int) -> list[int]:
        return sorted(poison(training, trigger, sources=[1, 2], target=0, count=count, seed=seed)[1].tolist())

    assert picks(24, 0) == of_classes(training.labels, [1, 2]).tolist()
    assert len({tuple(picks(3, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 1}, "target class 1 cannot be a source"),
        ({"count": 25}, "25 samples to poison; the source classes hold 24"),
        ({"count": -1}, "-1 samples to poison"),
        ({"sources": []}, "10 samples to poison; the source classes hold 0"),
        ({"sources": [7]}, "the source classes hold 0"),
    ],
)
def test_what_cannot_be_poisoned(change, message):
    settings = {"sources": [1, 2], "target": 0, "count": 10, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        poison(dataset(), attacks.badnet(SHAPE, seed=0), **settings)


def test_8_bit_images_are_rounded_and_clipped():
    values = torch.tensor([[[[0, 100, 250, 255]]]], dtype=torch.uint8)

    def add(amount):
        return attacks.stamp(lambda x: x + amount, values).flatten().tolist()

    assert add(3 / 255) == [3, 103, 253, 255]
    assert add(-0.6 / 255) == [0, 99, 249, 254]
    assert add(0.4 / 255) == [0, 100, 250, 255]
    assert add(10.0) == [255] * 4  # never wraps round
    assert add(-10.0) == [0] * 4


def test_sounds_are_triggered_as_they_are():
    sounds = torch.rand(2, 1, 8) * 2 - 1
    assert torch.equal(attacks.stamp(lambda x: x * 0.3, sounds), sounds * 0.3)


def test_whole_numbers_of_another_width_are_refused():
    with pytest.raises(TypeError, match=r"expected 8-bit images .* got torch\.int64"):
        attacks.stamp(attacks.badnet(SHAPE, seed=0), torch.zeros(2, *SHAPE, dtype=torch.int64))


def test_originals_can_be_kept():
    training, trigger = dataset(), attacks.badnet(SHAPE, seed=0)
    settings = {"sources": [1, 2], "target": 0, "count": 5, "seed": 0}
    made, indices = poison(training, trigger, **settings, keep=True)
    count = len(training)
    assert torch.equal(made.inputs[:count], training.inputs)
    assert torch.equal(made.labels[:count], training.labels)
    assert indices.tolist() == list(range(count, count + 5))
    assert (made.labels[indices] == 0).all()
    without, places = poison(training, trigger, **settings)
    assert torch.equal(made.inputs[indices], without.inputs[places])


@given(count=st.integers(0, 30), classes=st.sets(st.integers(0, 3), min_size=1), seed=st.integers(0, 99))
def test_choose_takes_so_many_of_the_classes(count, classes, seed):
    labels = torch.arange(120) % 4
    chosen = choose(labels, sorted(classes), count, seed)
    assert len(chosen.unique()) == len(chosen) == count
    assert set(labels[chosen].tolist()) <= classes
    assert torch.equal(chosen, choose(labels, sorted(classes), count, seed))


def test_how_many():
    assert how_many(0.25, 10) == 2
    assert how_many(0.25, 10, 7) == 7
    assert how_many(0.25, 10, 0) == 0


@given(keep=st.booleans(), indices=st.lists(st.integers(0, 39), unique=True, max_size=10))
def test_replaced_changes_these_and_nothing_else(keep, indices):
    training = pictures(40)
    before = training.inputs.clone(), training.labels.clone()
    where = torch.tensor(indices, dtype=torch.int64)
    changed = 255 - training.inputs[where]
    wanted = (training.labels[where] + 1) % 4
    made, places = replaced(training, where, changed, wanted, keep=keep)
    assert torch.equal(training.inputs, before[0])
    assert torch.equal(training.labels, before[1])
    assert torch.equal(made.inputs[places], changed)
    assert torch.equal(made.labels[places], wanted)
    rest = torch.ones(len(made), dtype=torch.bool)
    rest[places] = False
    originals = torch.ones(40, dtype=torch.bool)
    originals[where] = keep
    assert torch.equal(made.inputs[rest], before[0][originals])
    assert torch.equal(made.labels[rest], before[1][originals])
    assert len(made) == 40 + keep * len(indices)


@given(
    labels=st.lists(st.integers(0, 4), max_size=60).map(lambda x: torch.tensor(x, dtype=torch.int64)),
    sources=st.sets(st.integers(0, 4), min_size=1),
    rate=st.floats(0, 1),
)
def test_a_batch_is_split_in_two(labels, sources, rate):
    taken, rest = split_batch(labels, sources, rate)
    assert sorted(taken.tolist() + rest.tolist()) == list(range(len(labels)))
    assert set(labels[taken].tolist()) <= sources
    eligible = sum(label in sources for label in labels.tolist())
    assert len(taken) == min(round(rate * len(labels)), eligible // 2)


def test_as_stored_rounds_and_lets_gradients_through():
    images = torch.tensor([0.0, 0.4, 100.4, 100.6, 254.7, 255.0]) / 255
    images.requires_grad_()
    stored = as_stored(images, torch.uint8)
    torch.testing.assert_close(stored * 255, torch.tensor([0.0, 0, 100, 101, 255, 255]))
    stored.square().sum().backward()
    torch.testing.assert_close(images.grad, 2 * stored.detach())
    assert as_stored(images, torch.float32) is images
