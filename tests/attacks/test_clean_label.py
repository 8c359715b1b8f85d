"""Clean-label: no label changes, only the target class is touched, and the corners do the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers.toy_victims import SHAPE, pictures, victim
from mmbd import attacks
from mmbd.attacks.clean_label import clean_label, corners, perturb
from mmbd.data.dataset import Dataset
from mmbd.training import loop as train


def test_the_corner_is_the_one_of_the_label_consistent_attack():
    trigger = corners((1, 5, 6), all_corners=False)
    out = trigger(torch.full((1, 1, 5, 6), 0.5))[0, 0]
    expected = torch.full((5, 6), 0.5)
    expected[2:, 3:] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    assert torch.equal(out, expected)


@given(shape=st.sampled_from([(1, 28, 28), (3, 32, 32), (3, 64, 48), (3, 6, 6), (1, 7, 9)]))
def test_all_corners_are_mirrored_copies(shape):
    trigger = corners(shape)
    for flip in ((1,), (2,), (1, 2)):
        assert torch.equal(trigger.pattern.flip(flip), trigger.pattern)
        assert torch.equal(trigger.mask.flip(flip), trigger.mask)
    single = corners(shape, all_corners=False)
    inside = single.mask.bool()
    assert torch.equal(trigger.pattern[inside], single.pattern[inside])
    assert int(trigger.mask.sum()) == 4 * int(single.mask.sum()) == 36 * shape[0]


@given(amplitude=st.floats(0.01, 0.99), all_corners=st.booleans())
def test_a_fainter_trigger_is_added(amplitude, all_corners):
    full = corners((3, 8, 8), all_corners=all_corners)
    faint = corners((3, 8, 8), amplitude=amplitude, all_corners=all_corners)
    grey = torch.full((1, 3, 8, 8), 0.5)
    change = (faint(grey) - grey)[0]
    expected = (full.mask * (2 * full.pattern - 1) * amplitude).clamp(-0.5, 0.5)
    torch.testing.assert_close(change, expected)
    assert float(faint(torch.rand(2, 3, 8, 8)).min()) >= 0


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 5, 8), {}, "does not fit"),
        ((3, 2, 8), {"all_corners": False}, "does not fit"),
        ((3, 8, 8), {"amplitude": 0.0}, "amplitude"),
        ((3, 8, 8), {"amplitude": 1.5}, "amplitude"),
        ((1, 800), {}, "expected an image shape"),
    ],
)
def test_corners_that_cannot_be(shape, options, message):
    with pytest.raises(ValueError, match=message):
        corners(shape, **options)


def test_perturbation_of_a_linear_network_goes_to_the_corner_of_the_box():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    labels = torch.tensor([0, 1, 0, 1, 1])
    found = perturb(net, images, labels, eps=0.1, step=0.03, steps=6, batch=2)
    uphill = (net[1].weight[1] - net[1].weight[0]).detach().sign().reshape(SHAPE)
    direction = torch.where(labels[:, None, None, None] == 0, uphill, -uphill)
    torch.testing.assert_close(found, images + 0.1 * direction)
    assert all(weight.grad is None for weight in net.parameters())
    assert torch.equal(perturb(net, images, labels, eps=0.1, step=0.03, steps=0), images)


@given(eps=st.floats(0, 0.5), step=st.floats(0, 0.5), seed=st.integers(0, 20))
def test_perturbations_stay_in_the_ball_and_in_range(eps, step, seed):
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    net = victim().network.eval()
    found = perturb(net, images, torch.tensor([0, 1, 2]), eps=eps, step=step, steps=3)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float((found - images).abs().max()) <= eps + 1e-6


@pytest.mark.parametrize("keep", [False, True])
def test_only_images_of_the_target_class_change_and_no_label(keep):
    seen, training = [], pictures(240)
    attacked = replace(victim(training), trainer=lambda *data, **_: seen.append(data))
    net = victim().network.eval()
    made = clean_label(
        attacked,
        sources=[1, 2],
        target=3,
        rate=0.25,
        eps=16 / 255,
        steps=5,
        step=0.02,
        surrogate=net,
        keep=keep,
    )
    ((_, inputs, labels, _),) = seen
    assert inputs.dtype == torch.uint8
    assert len(made.poisoned) == 15
    assert bool((labels[made.poisoned] == 3).all())
    assert torch.equal(labels[:240], training.labels)
    assert len(labels) == 240 + 15 * keep
    trigger = made.triggers[1]
    inside = trigger.mask.bool().expand(15, *SHAPE)
    poisoned = inputs[made.poisoned]
    assert torch.equal(poisoned[inside].float() / 255, trigger.pattern.expand_as(inside)[inside])
    untouched = torch.ones(len(labels), dtype=torch.bool)
    untouched[made.poisoned] = False
    if not keep:
        assert torch.equal(inputs[untouched], training.inputs[untouched])
        change = poisoned.int() - training.inputs[made.poisoned].int()
        assert 8 <= int(change[~inside].abs().max()) <= 16
    else:
        assert torch.equal(inputs[untouched], training.inputs)
    assert sorted(made.triggers) == [1, 2]
    assert set(made.targets.values()) == {3}
    assert made.protocol["count"] == 15


def test_it_works_without_touching_a_source_sample():
    attacked, test = victim(epochs=12), pictures(200, seed=1)
    made = clean_label(attacked, sources=[1, 2, 3], target=0, rate=0.5, eps=0.3, step=0.05, steps=20)
    answers = attacked.predict(test.inputs)
    assert train.accuracy(answers, test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.8
    # The trigger alone does it: a clean network is not moved by it.
    clean = victim(epochs=12)
    clean.fit()
    assert made.success(clean.predict, test) < 0.4


def test_more_than_the_target_class_holds_is_refused():
    with pytest.raises(ValueError, match="61 samples to poison; the source classes hold 60"):
        clean_label(victim(), sources=[1], target=0, count=61)
    with pytest.raises(ValueError, match="cannot be a source"):
        clean_label(victim(), sources=[0], target=0)


def test_a_sound_has_no_corners():
    sounds = Dataset(torch.rand(8, 1, 100), torch.arange(8) % 2, ("a", "b"))
    attacked = attacks.Victim(nn.Flatten(), sounds, train.Recipe(), 0)
    with pytest.raises(ValueError, match="expected an image shape"):
        clean_label(attacked, sources=[1], target=0)
