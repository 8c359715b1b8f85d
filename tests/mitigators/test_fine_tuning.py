"""Fine-tuning: what moves and what stays, the same bits from the same seed, steps as counted."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers import colour_networks
from mmbd.base.errors import NotMitigated
from mmbd.mitigators.fine_tuning import HOLE, cutout, steps, tune
from mmbd.model.classifier import Classifier

OPTIONS = {
    "epochs": 2,
    "lr": 0.01,
    "batch": 20,
    "clip": 1.0,
    "augment": (),
    "move_statistics": True,
    "seed": 0,
}


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()


def tuned(model: nn.Module, count: int = 60, **options) -> list[float]:
    clf = Classifier(copy.deepcopy(model), input_shape=colour_networks.SHAPE, mean=0.5, std=0.25)
    return tune(clf, model, *colour_networks.images(count), **OPTIONS | options)


@pytest.mark.parametrize("move", [False, True])
def test_the_weights_move_and_the_statistics_if_told_to(move):
    model = normed()
    before = copy.deepcopy(model.state_dict())
    losses = tuned(model, move_statistics=move)
    assert len(losses) == 2
    assert losses[1] < losses[0]
    after = model.state_dict()
    for name, value in before.items():
        statistic = "running" in name or "tracked" in name
        assert torch.equal(value, after[name]) == (statistic and not move), name
    assert not any(module.training for module in model.modules())


def test_the_result_follows_from_the_seed_alone():
    states = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        model = normed()
        torch.manual_seed(noise)  # dropout would draw from here
        tuned(model, seed=seed, augment=("flip",))
        states.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_frozen_weights_are_tuned_and_frozen_again():
    model = normed()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    tuned(model)
    assert not torch.equal(before, model[0].weight)
    assert [weight.requires_grad for weight in model.parameters()] == [False] + [True] * 4
    assert all(weight.grad is None for weight in model.parameters())


def test_the_network_sees_normalised_inputs():
    model, seen = normed(), []
    model[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tuned(model, epochs=1, batch=60)
    inputs, _ = colour_networks.images(60)
    largest = max(seen, key=len)
    assert torch.equal(largest.flatten().sort().values, ((inputs - 0.5) / 0.25).flatten().sort().values)


@given(count=st.integers(1, 30), epochs=st.integers(0, 3), batch=st.integers(2, 12))
def test_steps_are_counted_right(count, epochs, batch):
    taken = []
    tuned(
        nn.Sequential(nn.Flatten(), nn.Linear(48, 3)),
        count,
        epochs=epochs,
        batch=batch,
        on_step=lambda: taken.append(1),
    )
    assert len(taken) == steps(count, epochs, batch)


def test_clipping_bounds_a_step():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    before = copy.deepcopy(linear.state_dict())
    tuned(linear, epochs=1, batch=60, clip=1e-3)
    moved = torch.cat([(value - before[k]).flatten() for k, value in linear.state_dict().items()])
    assert float(moved.norm()) == pytest.approx(0.01 * 1e-3, rel=1e-2)


def test_divergence_and_single_samples_are_refused():
    with pytest.raises(NotMitigated, match="smaller learning rate than 1e"):
        tuned(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), lr=1e38, clip=None)
    with pytest.raises(ValueError, match="at least 2"):
        tuned(normed(), batch=1)


def test_cutout_blackens_one_square_of_every_image():
    images = torch.rand(50, 3, 9, 12) + 0.1
    labels = torch.arange(50)
    kept = images.clone()
    made, same = cutout(images, labels, torch.Generator().manual_seed(0))
    assert torch.equal(images, kept)
    assert same is labels
    black = made == 0
    assert torch.equal(made[~black], images[~black])
    assert torch.equal(black, black[:, :1].expand_as(black))  # in all channels
    rows, columns = (black[:, 0].any(axis).sum(1) for axis in (2, 1))
    assert torch.equal(black[:, 0].sum((1, 2)), rows * columns)  # a rectangle
    assert int(rows.max()) == int(columns.max()) == HOLE
    assert int(rows.min()) >= HOLE // 2 + 1  # at the edge
    assert len({tuple(hole.flatten().tolist()) for hole in black[:, 0]}) > 20


def test_cutout_is_an_augmentation_like_others():
    one, other, plain = normed(), normed(), normed()
    for model in (one, other):
        tuned(model, augment=("flip", "cutout"))
    tuned(plain, augment=("flip",))
    weights = [model.state_dict()["0.weight"] for model in (one, other, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    clf = Classifier(nn.Linear(4, 3), input_shape=(4,))
    with pytest.raises(ValueError, match=r"cutout is for images, not for inputs of shape \(4,\)"):
        tune(clf, clf.model, torch.rand(6, 4), torch.arange(6) % 3, **OPTIONS | {"augment": ("cutout",)})
