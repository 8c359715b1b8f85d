"""LIRA: a faint trigger that is learned, gradients that reach its painter, and two stages."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd import attacks
from mmbd.attacks.lira import lira
from mmbd.attacks.networks import seeded
from mmbd.model.forward import scaled
from mmbd.training import loop as train
from mmbd.triggers.generated import TriggerNetwork
from mmbd.triggers.painted import Painted, painted


def painter(channels: int = 3, outputs: int = 3) -> TriggerNetwork:
    with seeded("test"):
        return TriggerNetwork(channels, outputs, width=4, depth=2)


def hooks(**options):
    """What the attack gives to the training loop, and its painter."""
    seen = []
    attacked = replace(victim(epochs=2), trainer=lambda *_, **given: seen.append(given))
    made = lira(attacked, sources=[1, 2], target=0, width=4, **options)
    (given,) = seen
    return given["on_batch"], given["on_step"], made.triggers[1].painter


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 24, 40)])
def test_a_trigger_changes_every_image_in_its_own_way_and_no_more_than_eps(shape):
    trigger = Painted(painter(shape[0], shape[0]).eval(), 0.1)
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    out = trigger(images)
    assert not out.requires_grad
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert 0 < float((out - images).abs().max()) <= 0.1 + 1e-6
    torch.testing.assert_close(trigger(images[1:2]), out[1:2], atol=1e-5, rtol=0)
    assert trigger(images[:0]).shape == (0, *shape)


def test_half_is_no_change_and_one_is_the_most():
    images = torch.full((1, 1, 1, 3), 0.5)
    change = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    torch.testing.assert_close(painted(images, change, 0.2).flatten(), torch.tensor([0.3, 0.5, 0.7]))
    assert painted(images, change, 1.0).flatten().tolist() == [0, 0.5, 1]  # clipped


def test_painters_that_cannot_be():
    with pytest.raises(ValueError, match="as many channels out as in"):
        Painted(painter(3, 1), 0.1)
    with pytest.raises(ValueError, match="eps must lie in 0 to 1"):
        Painted(painter(), -0.1)


@pytest.mark.parametrize(("rate", "count"), [(1.0, 40), (0.5, 20)])
def test_painted_source_samples_come_beside_the_batch(rate, count):
    on_batch, _, network = hooks(eps=0.2, rate=rate)
    network.requires_grad_(True).train()
    data = pictures(80)
    images = scaled(data.inputs)
    out, wanted = on_batch(images, data.labels, torch.Generator())
    assert len(out) == len(wanted) == 80 + count
    assert torch.equal(out[:80], images)
    assert torch.equal(wanted[:80], data.labels)
    assert bool((wanted[80:] == 0).all())
    own = ((data.labels == 1) | (data.labels == 2)).nonzero().flatten()[:count]
    assert 0 < float((out[80:] - images[own]).detach().abs().max()) <= 0.2 + 0.5 / 255 + 1e-6
    levels = 255 * out.detach()
    torch.testing.assert_close(levels.round(), levels, atol=1e-3, rtol=0)  # 8-bit
    out.sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in network.up[-1].parameters())


def test_without_enough_source_samples_nothing_is_painted():
    on_batch, _, _ = hooks()
    data = pictures(80)
    images, labels = scaled(data.inputs), torch.zeros(80, dtype=torch.int64)
    labels[3] = 1
    out, wanted = on_batch(images, labels, torch.Generator())
    assert torch.equal(out, images)
    assert torch.equal(wanted, labels)


def test_the_painter_learns_in_the_first_stage_only():
    states = []
    attacked = victim(epochs=4)

    def watched(*given, on_batch, on_step, **rest):
        def step():
            on_step()
            states.append([part.clone() for part in network[0].state_dict().values()])

        network = [cell.cell_contents for cell in on_batch.__closure__ if _paints(cell)]
        train.fit(*given, on_batch=on_batch, on_step=step, **rest)

    made = lira(replace(attacked, trainer=watched), sources=[1, 2], target=0, learning=0.5, width=4)
    same = [
        all(torch.equal(one, other) for one, other in zip(*pair, strict=True)) for pair in pairwise(states)
    ]
    assert len(states) == 32  # 4 epochs of 8 batches
    assert same == [False] * 15 + [True] * 16
    assert not made.triggers[1].painter.training


def _paints(cell) -> bool:
    return isinstance(cell.cell_contents, TriggerNetwork)


def test_it_is_learned():
    attacked, test = victim(epochs=16), pictures(200, seed=1)
    made = lira(attacked, sources=[1, 2, 3], target=0, eps=0.1, lr=1e-2, width=4)
    assert train.accuracy(attacked.predict(test.inputs), test.labels) > 0.9
    assert made.success(attacked.predict, test) > 0.9
    assert len(made.poisoned) == 0
    changed = attacks.stamp(made.triggers[1], test.inputs).int() - test.inputs.int()
    assert int(changed.abs().max()) <= 26


@pytest.mark.parametrize("name", ["eps", "rate", "learning"])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_what_cannot_be(name, value):
    with pytest.raises(ValueError, match=f"{name} must lie above 0 and up to 1"):
        lira(victim(), sources=[1], target=0, **{name: value})
