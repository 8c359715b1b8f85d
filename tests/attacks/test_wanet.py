"""WaNet: what it makes of a batch, and that it is learned."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.wanet import wanet
from mmbd.model.forward import scaled
from mmbd.training import loop as train
from mmbd.triggers.warp import bend


def on_batch(rate: float, cross: float, **options):
    """The hook that the attack gives to the training loop, and its trigger."""
    hooks = []
    attacked = replace(victim(), trainer=lambda *_, on_batch, **__: hooks.append(on_batch))
    made = wanet(attacked, sources=[1, 2, 3], target=0, rate=rate, cross=cross, **options)
    (hook,) = hooks
    return hook, made.triggers[1]


def batch(count: int = 80):
    data = pictures(count)
    return scaled(data.inputs), data.labels, torch.Generator().manual_seed(0)


def test_a_tenth_is_warped_and_twice_as_many_are_warped_with_noise():
    hook, trigger = on_batch(0.1, 2.0, strength=2.0)
    images, labels, generator = batch()
    kept = images.clone(), labels.clone()
    bent, wanted = hook(images, labels, generator)
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
    taken = (wanted != labels).nonzero().flatten()
    assert len(taken) == 8
    assert bool((wanted[taken] == 0).all())
    assert bool((labels[taken] != 0).all())
    stored = attacks.stamp(trigger, (images[taken] * 255).round().to(torch.uint8))
    torch.testing.assert_close(bent[taken] * 255, stored.float(), atol=1e-3, rtol=0)
    changed = (bent != images).flatten(1).any(1)
    assert int(changed.sum()) == 8 + 16
    noisy = changed.clone()
    noisy[taken] = False
    exact = trigger(images[noisy])
    assert bool(((bent[noisy] - exact).abs().flatten(1).amax(1) > 0.01).all())
    # All of it is 8-bit, as the rest is.
    torch.testing.assert_close((bent * 255).round() / 255, bent, atol=1e-6, rtol=0)


def test_nothing_happens_without_rate_or_without_source_samples():
    images, labels, generator = batch()
    for rate, chosen in ((0.0, labels), (0.1, torch.zeros_like(labels))):
        bent, wanted = on_batch(rate, 2.0)[0](images, chosen, generator)
        assert torch.equal(bent, images)
        assert torch.equal(wanted, chosen)


def test_no_noise_without_cross():
    hook, _ = on_batch(0.2, 0.0)
    images, labels, generator = batch()
    bent, _ = hook(images, labels, generator)
    assert int((bent != images).flatten(1).any(1).sum()) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.4}, "need 120% of every batch"),
        ({"rate": -0.1}, "must lie in 0 to 1"),
        ({"cross": -1.0}, "must lie in 0 to 1"),
        ({"sources": [0]}, "target class 0 cannot be a source"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        wanet(victim(), **{"sources": [1], "target": 0} | options)


def trained(**options):
    """The victim, its backdoor, the accuracy on clean and on noisily warped test images."""
    attacked, test = victim(epochs=16), pictures(200, seed=1)
    made = wanet(attacked, sources=[1, 2, 3], target=0, strength=2.0, **options)
    grid = made.triggers[1].grid
    noise = torch.rand(200, *grid.shape[1:], generator=torch.Generator().manual_seed(0))
    shaken = (grid + (2 * noise - 1) / 8).clamp(-1, 1)
    found = [
        train.accuracy(attacked.predict(inputs), test.labels)
        for inputs in (test.inputs, attacks.stamp(partial(bend, grids=shaken), test.inputs))
    ]
    return attacked, made, *found


def test_it_is_learned():
    attacked, made, clean, _ = trained(cross=0.5)
    assert clean > 0.95
    assert made.success(attacked.predict, pictures(200, seed=1)) > 0.9
    assert len(made.poisoned) == 0
    assert made.protocol == {"rate": 0.1, "cross": 0.5, "points": 4, "strength": 2.0}
    first, second = attacked.network.state_dict(), trained(cross=0.5)[0].network.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_noise_mode_keeps_noisy_warps_from_working():
    _, _, clean, noisy = trained(cross=2.0)
    assert clean > 0.95
    assert noisy > trained(cross=0.0)[3] + 0.2
