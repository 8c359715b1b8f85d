"""Poisoning: the right number of the right images, and everything else untouched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmbd import attacks

SHAPE = (3, 12, 12)


def dataset(count: int = 60, classes: int = 5):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator).to(torch.uint8)
    return images, torch.arange(count) % classes


@given(
    kind=st.sampled_from(sorted(attacks.TRIGGERS)),
    target=st.integers(0, 4),
    others=st.sets(st.integers(0, 4), min_size=1),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_exactly_the_chosen_images_change(kind, target, others, share, seed):
    sources = sorted(others - {target})
    inputs, labels = dataset()
    kept_inputs, kept_labels = inputs.clone(), labels.clone()
    count = round(share * 12 * len(sources))
    trigger = attacks.TRIGGERS[kind](SHAPE, seed=seed)
    settings = {"sources": sources, "target": target, "count": count, "seed": seed}
    made = attacks.poison(inputs, labels, trigger, **settings)
    assert torch.equal(inputs, kept_inputs)  # the originals are left as they are
    assert torch.equal(labels, kept_labels)
    assert len(made.indices) == len(made.indices.unique()) == count
    assert set(labels[made.indices].tolist()) <= set(sources)
    assert bool((made.labels[made.indices] == target).all())
    assert made.inputs.dtype == torch.uint8
    assert torch.equal(made.inputs[made.indices], attacks.stamp(trigger, inputs[made.indices]))
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[made.indices] = False
    assert torch.equal(made.inputs[rest], inputs[rest])
    assert torch.equal(made.labels[rest], labels[rest])
    again = attacks.poison(inputs, labels, trigger, **settings)
    assert torch.equal(again.indices, made.indices)
    assert torch.equal(again.inputs, made.inputs)


def test_all_of_the_sources_can_be_poisoned_and_the_seed_picks():
    inputs, labels = dataset()
    trigger = attacks.badnet(SHAPE, seed=0)
    whole = attacks.poison(inputs, labels, trigger, sources=[1, 2], target=0, count=24, seed=0)
    assert sorted(whole.indices.tolist()) == torch.isin(labels, torch.tensor([1, 2])).nonzero()[:, 0].tolist()
    picks = {
        tuple(
            attacks.poison(
                inputs, labels, trigger, sources=[1, 2], target=0, count=3, seed=seed
            ).indices.tolist()
        )
        for seed in range(5)
    }
    assert len(picks) == 5


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
    inputs, labels = dataset()
    settings = {"sources": [1, 2], "target": 0, "count": 10, "seed": 0}
    with pytest.raises(ValueError, match=message):
        attacks.poison(inputs, labels, attacks.badnet(SHAPE, seed=0), **(settings | change))


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
    inputs, labels = dataset()
    trigger = attacks.badnet(SHAPE, seed=0)
    made = attacks.poison(inputs, labels, trigger, sources=[1, 2], target=0, count=5, seed=0, keep=True)
    count = len(labels)
    assert torch.equal(made.inputs[:count], inputs)
    assert torch.equal(made.labels[:count], labels)
    assert made.indices.tolist() == list(range(count, count + 5))
    assert (made.labels[made.indices] == 0).all()
    replaced = attacks.poison(inputs, labels, trigger, sources=[1, 2], target=0, count=5, seed=0)
    assert torch.equal(made.inputs[made.indices], replaced.inputs[replaced.indices])
