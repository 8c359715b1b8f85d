"""The attacker's own networks: seeded, of the right shapes, and apart from the victim's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.toy_victims import pictures, victim
from mmbd.attacks.networks import probabilities, seeded, surrogate
from mmbd.training import loop as train
from mmbd.triggers.generated import TriggerNetwork


def same(first, second) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_seeded_weights_follow_from_the_key_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    following = torch.rand(3)
    torch.manual_seed(5)
    with seeded("a", 1):
        one = torch.rand(3)
    assert torch.equal(torch.rand(3), following)
    torch.manual_seed(6)
    with seeded("a", 1):
        assert torch.equal(torch.rand(3), one)
    with seeded("a", 2):
        assert not torch.equal(torch.rand(3), one)


def test_a_surrogate_is_another_trained_network():
    attacked = victim()
    before = {name: value.clone() for name, value in attacked.network.state_dict().items()}
    found = surrogate(attacked)
    assert same(before, attacked.network.state_dict())
    assert attacked.network.training
    assert not found.training
    assert not torch.equal(found[0].weight, attacked.network[0].weight)
    test = pictures(80, seed=1)
    answers = replace(attacked, network=found).predict(test.inputs)
    assert train.accuracy(answers, test.labels) > 0.95
    assert same(found.state_dict(), surrogate(attacked).state_dict())


def test_a_surrogate_does_not_start_where_the_victim_starts():
    attacked = victim(epochs=0)
    found, start = surrogate(attacked), attacked.network
    assert not torch.equal(found[0].weight, start[0].weight)
    assert not torch.equal(found[-1].weight, start[-1].weight)


def test_probabilities_are_softmax_of_the_normalised_logits():
    attacked = replace(victim(), normalise=lambda x: x - 1)
    net, inputs = attacked.network.eval(), pictures(23).inputs
    found = probabilities(attacked, net, inputs)
    with torch.no_grad():
        torch.testing.assert_close(found, net(inputs.float() / 255 - 1).softmax(1))


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize(
    ("shape", "depth"), [((3, 32, 32), 3), ((1, 28, 28), 3), ((3, 64, 48), 3), ((2, 9, 7), 2)]
)
def test_a_painter_paints_images_of_the_same_size(shape, depth, sharp):
    with seeded("test"):
        painter = TriggerNetwork(shape[0], 2, width=4, depth=depth, sharp=sharp)
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    out = painter(images).detach()
    assert out.shape == (3, 2, *shape[1:])
    assert out.dtype == torch.float32
    assert 0 <= float(out.min()) < float(out.max()) <= 1
    assert TriggerNetwork(**painter.arguments).arguments == painter.arguments
    alone = painter.eval()(images[1:2])  # no image sees another one
    torch.testing.assert_close(alone, painter(images)[1:2], atol=1e-5, rtol=1e-4)


def test_a_sharp_painter_is_mostly_black_or_white():
    with seeded("test"):
        soft = TriggerNetwork(3, 1, width=4)
    sharp = TriggerNetwork(3, 1, width=4, sharp=True)
    sharp.load_state_dict(soft.state_dict())
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = (20 * soft(images) - 10).tanh() / 2 + 0.5
    torch.testing.assert_close(sharp(images), expected, atol=1e-5, rtol=1e-5)
