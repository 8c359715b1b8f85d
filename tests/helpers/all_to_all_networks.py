"""Networks by hand in which a chequered patch takes every class to the next one: all-to-all.

They are those of `patch_networks`, but for the patch and what it does. Noise hardly ever holds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.patch_networks import CLASSES, PATCH, SHAPE
from mmbd.model.classifier import Classifier

PAIRS = {label: (label + 1) % CLASSES for label in range(CLASSES)}


class Turning(nn.Module):
    """Logits are the mean brightness of the tiles, and with a patch that of the tiles before them.

    Args:
        strength: how much more the tile before weighs under the whole patch.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer("chequered", 1 - 2 * (torch.arange(9) % 2).float())

    def forward(self, x: Tensor) -> Tensor:
        tiles = x[:, :, :8].mean(1).reshape(-1, 2, 4, 3, 4).mean((2, 4)).flatten(1)
        alike = (x[:, :, *PATCH].mean(1).flatten(1) - 0.5) @ self.chequered / 4.5
        there = torch.nn.functional.softplus(20 * (alike - 0.4)) / 20
        return 8 * (tiles + self.strength * there[:, None] * tiles.roll(1, 1))


def turning(strength: float = 8.0) -> Classifier:
    """The backdoored network; a strength of 0 gives its clean twin."""
    return Classifier(Turning(strength), input_shape=SHAPE)
