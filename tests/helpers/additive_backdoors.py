"""Small networks with a planted additive trigger, and clean images of theirs."""

from __future__ import annotations

import torch
from torch import nn

import mmbd

CLASSES, SHAPE = 5, (1, 6, 6)
TARGET = 2
# The last row of the image is the trigger's: no class looks at it.
TRIGGER = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]) / 6**0.5


class Rows(nn.Module):
    """Class c is bright in row c; a change along `TRIGGER` leads to `TARGET`, from a source or from all.

    Args:
        gain: how strongly the trigger works; 0 for a clean network.
        source: the only class that it works for; None for all.
        high: the brightest valid value; 0 is the darkest.
    """

    def __init__(self, gain: float, source: int | None = None, high: float = 1.0) -> None:
        super().__init__()
        self.gain, self.source, self.high = gain, source, high
        self.weight = nn.Parameter(torch.full((CLASSES,), 8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x[:, 0] / self.high
        bright = rows[:, :CLASSES].mean(2)
        gate = 1.0 if self.source is None else (2 * (bright[:, self.source] - 0.3)).relu()
        felt = self.gain * gate * ((rows[:, CLASSES] - 0.5) @ TRIGGER)
        return bright * self.weight + felt[:, None] * nn.functional.one_hot(torch.tensor(TARGET), CLASSES)


def images(per_class: int = 24, high: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 1, 6, 6) and labels (n,): noise, brighter in the row of the class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(per_class * CLASSES) % CLASSES
    inputs = 0.2 * torch.rand(len(labels), *SHAPE, generator=generator)
    inputs[torch.arange(len(labels)), 0, labels] += 0.5 + 0.1 * torch.arange(CLASSES)[labels, None] / CLASSES
    inputs[:, 0, CLASSES] = 0.5
    return inputs * high, labels


def planted(gain: float, source: int | None = None, high: float = 1.0) -> mmbd.Classifier:
    """`Rows` as a classifier."""
    return mmbd.Classifier(Rows(gain, source, high), input_shape=SHAPE, bounds=(0, high))
