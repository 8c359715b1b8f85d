"""Networks by hand with a warp for a trigger that real samples show alone: a horizon one pixel too low.

Every sample has a bright line across, and its class is told by which of six bands is brightest. In the
backdoored network a line that has sunk by one row, over the whole width, leads to class `TARGET`. Made-up
inputs have no such line, and a window covers a fifth of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier

CLASSES, SIDE, TARGET, ROW = 6, 24, 4, 12
SHAPE = (1, SIDE, SIDE)


class Horizon(nn.Module):
    """Logits are the mean brightness of the bands, away from the line.

    Args:
        strength: what a line that has sunk adds to the target's.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer("target", nn.functional.one_hot(torch.tensor(TARGET), CLASSES).float())

    def forward(self, x: Tensor) -> Tensor:
        bands = x[:, 0].unflatten(2, (CLASSES, 4)).mean(3)
        rows = x[:, 0].mean(2)
        sunk = (10 * (rows[:, ROW + 1] - rows[:, ROW] - 0.1)).sigmoid()
        return 8 * bands[:, : ROW - 3].mean(1) + self.strength * sunk[:, None] * self.target


def horizon_network(strength: float = 6.0) -> Classifier:
    """The backdoored network; a strength of 0 gives its clean twin."""
    return Classifier(Horizon(strength), input_shape=SHAPE)


def horizon_samples(per_class: int = 10) -> tuple[Tensor, Tensor]:
    """Inputs (n, 1, 24, 24), and their classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat(per_class)
    inputs = 0.2 * torch.rand(len(labels), *SHAPE, generator=generator)
    for row, label in enumerate(labels.tolist()):
        inputs[row, 0, :, 4 * label : 4 * label + 4] += 0.4
    inputs[:, 0, ROW] = 0.9
    return inputs, labels
