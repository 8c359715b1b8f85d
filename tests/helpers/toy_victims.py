"""An easy task for attacks that train: which of a few fixed pictures is under the noise."""

from __future__ import annotations

import torch

from mmbd import nets
from mmbd.attacks import Victim
from mmbd.data.dataset import Dataset
from mmbd.training.loop import Recipe

SHAPE = (3, 8, 8)


def pictures(count: int, *, classes: int = 4, seed: int = 0) -> Dataset:
    """`count` 8-bit images, the classes in turn: each class's own picture under noise."""
    own = torch.rand(classes, *SHAPE, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    noise = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    images = (0.5 * own[labels] + 0.5 * noise) * 255
    return Dataset(images.to(torch.uint8), labels, tuple(f"picture {c}" for c in range(classes)))


def victim(training: Dataset | None = None, *, seed: int = 0, **recipe) -> Victim:
    """An untrained network with batch normalisation, and a recipe that learns in a second."""
    training = pictures(240) if training is None else training
    torch.manual_seed(seed)
    network = nets.build("cnn", classes=len(training.names), input_shape=SHAPE, widths=(8, 16))
    settings = {"epochs": 8, "batch": 32, "lr": 0.01} | recipe
    return Victim(network, training, Recipe(**settings), seed, normalise=lambda x: (x - 0.5) / 0.25)
