"""Which samples an attack takes: only of its sources, as many as asked for, the rest untouched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_victims import pictures
from mmbd.attacks import samples


@given(count=st.integers(0, 30), classes=st.sets(st.integers(0, 3), min_size=1), seed=st.integers(0, 99))
def test_choose_takes_so_many_of_the_classes(count, classes, seed):
    labels = torch.arange(120) % 4
    chosen = samples.choose(labels, sorted(classes), count, seed)
    assert len(chosen.unique()) == len(chosen) == count
    assert set(labels[chosen].tolist()) <= classes
    assert torch.equal(chosen, samples.choose(labels, sorted(classes), count, seed))


def test_choose_refuses_more_than_there_are():
    labels = torch.arange(12) % 4
    with pytest.raises(ValueError, match="7 samples to poison; the source classes hold 6"):
        samples.choose(labels, [1, 2], 7, 0)
    with pytest.raises(ValueError, match="-1 samples"):
        samples.choose(labels, [1, 2], -1, 0)


def test_number():
    assert samples.number(0.25, 10) == 2
    assert samples.number(0.25, 10, 7) == 7
    assert samples.number(0.25, 10, 0) == 0


@given(keep=st.booleans(), indices=st.lists(st.integers(0, 39), unique=True, max_size=10))
def test_put_changes_these_and_nothing_else(keep, indices):
    training = pictures(40)
    before = training.inputs.clone(), training.labels.clone()
    where = torch.tensor(indices, dtype=torch.int64)
    changed = 255 - training.inputs[where]
    wanted = (training.labels[where] + 1) % 4
    made, places = samples.put(training, where, changed, wanted, keep=keep)
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
    taken, rest = samples.split_batch(labels, sources, rate)
    assert sorted(taken.tolist() + rest.tolist()) == list(range(len(labels)))
    assert set(labels[taken].tolist()) <= sources
    eligible = sum(label in sources for label in labels.tolist())
    assert len(taken) == min(round(rate * len(labels)), eligible // 2)


def test_as_stored_rounds_and_lets_gradients_through():
    images = torch.tensor([0.0, 0.4, 100.4, 100.6, 254.7, 255.0]) / 255
    images.requires_grad_()
    stored = samples.as_stored(images, torch.uint8)
    torch.testing.assert_close(stored * 255, torch.tensor([0.0, 0, 100, 101, 255, 255]))
    stored.square().sum().backward()
    torch.testing.assert_close(images.grad, 2 * stored.detach())
    assert samples.as_stored(images, torch.float32) is images
