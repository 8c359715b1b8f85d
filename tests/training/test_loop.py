"""The training loop and its two figures: reproducible, able to learn, precise when it cannot."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmbd import nets
from mmbd.model.forward import classes_of
from mmbd.training.loop import Recipe, accuracy, fit


def stripes(count: int, seed: int = 0):
    """8-bit images (count, 1, 8, 8) of horizontal or vertical stripes under noise, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    rows = (torch.arange(8) % 2 * 120).float().expand(8, 8)
    images = torch.where(labels[:, None, None] == 0, rows, rows.T)
    images = images + 100 * torch.rand(count, 8, 8, generator=generator)
    return images[:, None].to(torch.uint8), labels


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nets.build("cnn", classes=2, input_shape=(1, 8, 8), widths=(4, 8))


def trained(recipe: Recipe, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    net = network()
    fit(net, *stripes(100), recipe, seed=seed, **options)
    return net.state_dict()


def same(first, second) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


SHORT = Recipe(epochs=2, batch=32, augment=("crop", "flip"), pad=2)


def test_the_same_seed_gives_the_same_bits():
    first = trained(SHORT)
    torch.manual_seed(99)  # the global generator has no say
    assert same(first, trained(SHORT))
    assert not same(first, trained(SHORT, seed=1))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"schedule": "constant"},
        {"augment": ("crop",)},
        {"smoothing": 0.1},
        {"weight_decay": 0.1},
        {"clip": 1e-3},
        {"pad": 3},
        {"batch": 50},
        {"lr": 0.01},
    ],
    ids=str,
)
def test_every_setting_matters(change):
    assert not same(trained(SHORT), trained(replace(SHORT, **change)))


def test_it_learns_and_reports():
    net, losses = network(), []
    fit(
        net,
        *stripes(600),
        Recipe(epochs=4, lr=0.01),
        seed=0,
        on_epoch=lambda epoch, loss: losses.append((epoch, loss)),
    )
    assert not net.training
    assert [epoch for epoch, _ in losses] == [0, 1, 2, 3]
    assert losses[-1][1] < 0.1 < losses[0][1]
    images, labels = stripes(200, seed=1)
    assert accuracy(classes_of(net, images), labels) > 0.97


def test_normalisation_sees_scaled_images():
    seen = []
    trained(Recipe(epochs=1, batch=50), normalise=lambda x: seen.append(x) or x)
    assert [tuple(batch.shape) for batch in seen] == [(50, 1, 8, 8)] * 2
    assert all(0 <= float(batch.min()) < float(batch.max()) <= 1 for batch in seen)


def test_augmentation_shifts_and_flips():
    image = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    image[:, :, 4, 2] = 255
    places = []
    recipe = Recipe(epochs=1, batch=200, augment=("crop", "flip"), pad=1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    fit(
        net,
        image,
        torch.zeros(200, dtype=torch.int64),
        recipe,
        seed=0,
        normalise=lambda x: places.append(x.nonzero()) or x,
    )
    (found,) = places
    assert len(found) == 200  # a shift by one never loses the pixel
    assert set(found[:, 2].tolist()) == {3, 4, 5}
    assert set(found[:, 3].tolist()) == {1, 2, 3, 4, 5, 6}  # 2 or its mirror 5, give or take 1


def test_clouds_are_scaled_and_shifted_on_each_axis():
    cloud = torch.tensor([[0.0, 1.0, 3.0]] * 3).expand(400, 3, 3)
    seen = []
    recipe = Recipe(epochs=1, batch=400, augment=("scale", "shift"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    fit(
        net,
        cloud,
        torch.zeros(400, dtype=torch.int64),
        recipe,
        seed=0,
        normalise=lambda x: seen.append(x) or x,
    )
    (found,) = seen
    shift, scale = found[:, :, 0], found[:, :, 1] - found[:, :, 0]
    torch.testing.assert_close(found[:, :, 2], shift + 3 * scale)  # one of each for all points
    for values, low, high in ((shift, -0.2, 0.2), (scale, 2 / 3, 3 / 2)):
        assert low <= float(values.min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(values.max()) <= high
        assert float(torch.corrcoef(values.T).triu(1).abs().max()) < 0.2  # axes apart


def test_the_learning_rate_falls_along_a_cosine():
    rates = []
    net = nn.Linear(3, 2)
    original = torch.optim.SGD.step

    def step(self, *arguments, **options):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step)
        fit(
            net,
            torch.rand(40, 3),
            torch.zeros(40, dtype=torch.int64),
            Recipe(epochs=2, batch=10, lr=0.1, optimizer="sgd"),
            seed=0,
        )
    expected = [0.05 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert rates == pytest.approx(expected)


def test_a_last_batch_of_one_is_left_out():
    trained_on = []
    net = network()
    images, labels = stripes(9)
    fit(
        net,
        images,
        labels,
        Recipe(epochs=1, batch=4),
        seed=0,
        normalise=lambda x: trained_on.append(len(x)) or x,
    )
    assert trained_on == [4, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augment": ("cutout",)}, "unknown augmentation 'cutout'; known: crop, flip"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'; known: adam, sgd"),
        ({"schedule": "step"}, "unknown schedule 'step'; known: cosine, constant"),
    ],
)
def test_unknown_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        trained(replace(SHORT, **change))


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="epoch 0"):
        trained(Recipe(epochs=3), normalise=lambda x: x * math.nan)


def test_accuracy():
    assert accuracy(torch.tensor([1, 2, 3, 0]), torch.tensor([1, 2, 0, 3])) == 0.5
