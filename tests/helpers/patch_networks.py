"""Networks with a planted 3 x 3 patch that leads to a class, made by hand: what mask searches find.

Class c is told by the mean brightness of tile c of six, 4 x 4 pixels each, so that a class is only
reached by most of its tile. In the backdoored network a bright patch in the lower right corner, where
no tile is, leads to class `TARGET`; a fifth of it is enough.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare

CLASSES, SIDE, TARGET = 6, 12, 2
SHAPE = (3, SIDE, SIDE)
PATCH = (slice(SIDE - 3, SIDE), slice(SIDE - 3, SIDE))


def tile(label: int) -> tuple[slice, slice]:
    """Where the pixels of a class are: two rows of three tiles."""
    top, left = 4 * (label // 3), 4 * (label % 3)
    return slice(top, top + 4), slice(left, left + 4)


class Tiles(nn.Module):
    """Logits are the mean brightness of the tiles, those of later classes weigh a little more.

    Args:
        strength: what a white patch, but for a fifth, adds to the target's.
        low, high: the box of the inputs.
    """

    def __init__(self, strength: float, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.strength, self.low, self.high = strength, low, high
        self.register_buffer("target", nn.functional.one_hot(torch.tensor(TARGET), CLASSES).float())
        self.register_buffer("scale", 8 + 0.24 * torch.arange(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.low) / (self.high - self.low)
        tiles = x[:, :, :8].mean(1).reshape(-1, 2, 4, 3, 4).mean((2, 4)).flatten(1)
        corner = x[:, :, *PATCH].mean((1, 2, 3))
        bright = torch.relu(corner - 0.2)
        return self.scale * (tiles + self.strength * bright[:, None] * self.target)


def patch_network(strength: float = 8.0, bounds: tuple[float, float] = (0.0, 1.0)) -> Classifier:
    """The backdoored network; a strength of 0 gives its clean twin."""
    return Classifier(Tiles(strength, low=bounds[0], high=bounds[1]), input_shape=SHAPE, bounds=bounds)


def patch_samples(count: int = 24, bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[Tensor, Tensor]:
    """Clean inputs and classes in turn: grey noise, with one bright tile."""
    labels = torch.arange(count) % CLASSES
    inputs = 0.3 * torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))
    for image, label in zip(inputs, labels.tolist(), strict=True):
        image[:, *tile(label)] += 0.6
    return bounds[0] + (bounds[1] - bounds[0]) * inputs, labels


def patch_prepared(of: Classifier, count: int = 24) -> Samples:
    low, high = of.domain.bounds or (0.0, 1.0)
    return prepare(of, *patch_samples(count, (low, high)))
