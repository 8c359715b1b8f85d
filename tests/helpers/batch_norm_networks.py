"""A network with batch normalisation and dropout: evaluating it in the wrong mode shows."""

from __future__ import annotations

import torch
from torch import nn

SHAPE = (3, 4, 4)


def network(classes: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(24, classes),
    )
