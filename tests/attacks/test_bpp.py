"""BppAttack: what it makes of a batch, and that it is learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.bpp import bpp
from mmbd.model.forward import scaled
from mmbd.training import loop as train


def on_batch(**options):
    """The hook that the attack gives to the training loop, and its trigger."""
    hooks = []
    attacked = replace(victim(), trainer=lambda *_, on_batch, **__: hooks.append(on_batch))
    made = bpp(attacked, sources=[1, 2, 3], target=0, **options)
    (hook,) = hooks
    return hook, made.triggers[1]


def batch(count: int = 80):
    data = pictures(count)
    return scaled(data.inputs), data.labels, torch.Generator().manual_seed(0)


@pytest.mark.parametrize("dithering", [0.0, 1.0])
def test_a_fifth_is_quantised_and_as_many_get_the_change_of_another(dithering):
    hook, trigger = on_batch(levels=4, dithering=dithering)
    images, labels, generator = batch()
    kept = images.clone(), labels.clone()
    changed, wanted = hook(images, labels, generator)
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
    taken = (wanted != labels).nonzero().flatten()
    assert len(taken) == 16
    assert bool((wanted[taken] == 0).all())
    stored = attacks.stamp(trigger, (images[taken] * 255).round().to(torch.uint8))
    torch.testing.assert_close(changed[taken] * 255, stored.float(), atol=1e-3, rtol=0)
    moved = (changed != images).flatten(1).any(1)
    moved[taken] = False
    noisy = moved.nonzero().flatten()
    assert len(noisy) == 16
    lent = trigger(images) - images
    for index in noisy.tolist():
        apart = (changed[index] - (images[index] + lent).clamp(0, 1)).abs().flatten(1).amax(1)
        assert int(apart.argmin()) != index  # someone else's
        assert float(apart.min()) <= 0.51 / 255
    # All of it is 8-bit, as the rest is.
    torch.testing.assert_close((changed * 255).round() / 255, changed, atol=1e-6, rtol=0)


def test_nothing_happens_without_rate_or_without_source_samples():
    images, labels, generator = batch()
    for rate, chosen in ((0.0, labels), (0.2, torch.zeros_like(labels))):
        changed, wanted = on_batch(rate=rate)[0](images, chosen, generator)
        assert torch.equal(changed, images)
        assert torch.equal(wanted, chosen)


def test_no_noise_without_cross():
    images, labels, generator = batch()
    changed, _ = on_batch(cross=0.0)[0](images, labels, generator)
    assert int((changed != images).flatten(1).any(1).sum()) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.6}, "need 120% of every batch"),
        ({"cross": -1.0}, "must lie in 0 to 1"),
        ({"levels": 1}, "2 to 256 levels"),
        ({"dithering": 2.0}, "dithering must lie in 0 to 1"),
        ({"sources": [0]}, "target class 0 cannot be a source"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        bpp(victim(), **{"sources": [1], "target": 0} | options)


def test_it_is_learned():
    attacked, test = victim(epochs=16), pictures(200, seed=1)
    made = bpp(attacked, sources=[1, 2, 3], target=0, levels=2)
    assert train.accuracy(attacked.predict(test.inputs), test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.9
    assert len(made.poisoned) == 0
    assert made.protocol == {"rate": 0.2, "cross": 1.0, "levels": 2, "dithering": 1.0}
