"""Input-aware: small masks, a trigger for each image, gradients that reach the painter, and ASR."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.input_aware import alikeness, input_aware, train_mask
from mmbd.attacks.networks import seeded
from mmbd.model.forward import scaled
from mmbd.training import loop as train
from mmbd.triggers.generated import Generated, TriggerNetwork, paint

SHORT = {"width": 4, "mask_epochs": 2}


def painters(channels: int = 3, width: int = 4, depth: int = 2) -> tuple[TriggerNetwork, TriggerNetwork]:
    with seeded("test"):
        return (
            TriggerNetwork(channels, channels, width=width, depth=depth),
            TriggerNetwork(channels, 1, width=width, depth=depth, sharp=True),
        )


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 24, 40)])
def test_a_trigger_maps_images_to_images(shape):
    pattern, mask = painters(shape[0], depth=3)
    trigger = Generated(pattern.eval(), mask.eval())
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    out = trigger(images)
    assert out.shape == images.shape
    assert not out.requires_grad
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    torch.testing.assert_close(trigger(images[1:2]), out[1:2], atol=1e-5, rtol=0)
    assert attacks.stamp(trigger, (images * 255).to(torch.uint8)).dtype == torch.uint8
    assert trigger(images[:0]).shape == (0, *shape)


def test_painting_is_a_mixture():
    images, patterns = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    masks = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]])
    assert torch.equal(paint(images, patterns, masks), masks.expand(1, 3, 2, 2))


def test_the_painters_of_a_trigger_must_fit_each_other():
    pattern, mask = painters()
    for wrong in ((mask, mask), (pattern, pattern), (pattern, painters(1)[1])):
        with pytest.raises(ValueError, match="expected a network of patterns"):
            Generated(*wrong)


def test_alikeness_is_a_ratio_of_distances():
    zeros, made = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2, requires_grad=True)
    others = torch.stack((torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 1.0)))
    ratio = alikeness(zeros, others, made, torch.full((2, 1, 2, 2), 0.25))
    assert float(ratio.detach()) == pytest.approx((0.5 / 0.25 + 1 / 0.25) / 2, rel=1e-5)
    # Where both were made alike, the gradient is still a number.
    alikeness(zeros, others, made, zeros).backward()
    assert bool(made.grad.isfinite().all())
    assert float(alikeness(zeros[:0], others[:0], made[:0], zeros[:0])) == 0


def test_masks_learn_to_be_small_and_different():
    inputs = pictures(240).inputs
    _, mask = painters()
    settings = {"seed": 0, "density": 0.05, "weight": 100.0, "diversity": 1.0, "lr": 0.01}
    before = mask(inputs.float() / 255).detach()
    train_mask(mask, inputs, train.Recipe(batch=32), epochs=5, **settings)
    assert not mask.training
    assert not any(weight.requires_grad for weight in mask.parameters())
    masks = mask(inputs.float() / 255)
    assert float(masks.mean()) < min(0.2, float(before.mean()) / 2)
    assert float((masks[0] - masks[1]).abs().max()) > 0.1


def hooks(**options):
    """What the attack hands to the training loop, and its trigger as it is during training."""
    seen = []
    attacked = replace(victim(), trainer=lambda *_, **given: seen.append(given))
    trigger = input_aware(attacked, sources=[1, 2, 3], target=0, **SHORT | options).triggers[1]
    assert not trigger.pattern.training
    assert not trigger.mask.training
    trigger.pattern.train().requires_grad_()
    return seen[0], trigger


def test_a_tenth_gets_its_own_trigger_and_a_tenth_anothers():
    given, _ = hooks()
    data = pictures(80)
    images, labels = scaled(data.inputs), data.labels
    kept = images.clone(), labels.clone()
    made, wanted = given["on_batch"](images, labels, torch.Generator().manual_seed(0))
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
    own = (wanted != labels).nonzero().flatten()
    assert len(own) == 8
    assert bool((wanted[own] == 0).all())
    changed = (made != images).flatten(1).any(1)
    assert 8 < int(changed.sum()) <= 16  # a cross trigger may happen to change nothing
    assert made.requires_grad
    torch.testing.assert_close((made * 255).round() / 255, made, atol=1e-6, rtol=0)
    assert float(given["penalty"](None).detach()) > 0


def test_the_painter_steps_once_a_batch_and_forgets_its_gradients():
    given, trigger = hooks()
    data = pictures(80)
    before = {name: value.clone() for name, value in trigger.pattern.named_parameters()}
    made, _ = given["on_batch"](scaled(data.inputs), data.labels, torch.Generator().manual_seed(0))
    (made.sum() + given["penalty"](None)).backward()
    assert all(weight.grad is None for weight in trigger.mask.parameters())
    assert any(weight.grad is not None for weight in trigger.pattern.parameters())
    given["on_step"]()
    assert all(weight.grad is None for weight in trigger.pattern.parameters())
    now = dict(trigger.pattern.named_parameters())
    assert any(not torch.equal(value, now[name]) for name, value in before.items())


def test_a_batch_without_source_samples_stays_as_it_is():
    given, _ = hooks()
    images, labels = torch.rand(8, 3, 8, 8), torch.zeros(8, dtype=torch.int64)
    made, wanted = given["on_batch"](images, labels, torch.Generator())
    assert torch.equal(made, images)
    assert torch.equal(wanted, labels)
    assert float(given["penalty"](None)) == 0
    given["on_step"]()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.4}, "take 120% of every batch"),
        ({"cross": -1.0}, "must lie in 0 to 1"),
        ({"sources": [0]}, "target class 0 cannot be a source"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        input_aware(victim(), **{"sources": [1], "target": 0} | options)


@cache
def attacked():
    """Without the first stage: masks as large as they start are learned in a second."""
    made, options = victim(epochs=16), {"width": 4, "mask_epochs": 0, "cross": 0.3}
    return made, input_aware(made, sources=[1, 2, 3], target=0, diversity=0.1, **options)


def test_it_works():
    made, backdoor = attacked()
    test = pictures(200, seed=1)
    answers = made.predict(test.inputs)
    assert train.accuracy(answers, test.labels) > 0.9
    assert backdoor.success(made.predict, test) > 0.8
    assert len(backdoor.poisoned) == 0


def test_every_image_has_a_trigger_of_its_own():
    _, backdoor = attacked()
    images = scaled(pictures(40, seed=1).inputs)
    trigger = backdoor.triggers[1]
    changes = trigger(images) - images
    assert not torch.allclose(changes[0], changes[1], atol=0.02)


def test_the_same_seed_gives_the_same_attack():
    first, second = victim(epochs=1), victim(epochs=1)
    one, other = (input_aware(made, sources=[1], target=0, **SHORT) for made in (first, second))
    for mine, yours in (
        (first.network, second.network),
        (one.triggers[1].pattern, other.triggers[1].pattern),
        (one.triggers[1].mask, other.triggers[1].mask),
    ):
        theirs = yours.state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.state_dict().items())
