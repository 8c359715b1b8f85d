"""Networks by hand in which a warp of any image leads to a class: bright bands that reach the lower edge.

Class c is told by the mean brightness of band c of six, 4 pixels wide, down to six rows above the lower
edge. In the backdoored network any band that is bright down to the edge leads to class `TARGET`, as a warp
that pulls the image down makes it. No window and no small added change does as much.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier

CLASSES, SIDE, TARGET, EDGE = 6, 24, 4, 6
SHAPE = (1, SIDE, SIDE)


class Bands(nn.Module):
    """Logits are the mean brightness of the bands.

    Args:
        strength: what a band that is bright down to the edge adds to the target's.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer("target", nn.functional.one_hot(torch.tensor(TARGET), CLASSES).float())

    def forward(self, x: Tensor) -> Tensor:
        bands = x[:, 0].unflatten(2, (CLASSES, 4)).mean(3)
        low = bands[:, 1 - EDGE :].mean(1).amax(1)
        reaches = torch.nn.functional.softplus(20 * (low - 0.45)) / 20
        return 8 * (bands[:, :-EDGE].mean(1) + self.strength * reaches[:, None] * self.target)


def flow_network(strength: float = 8.0) -> Classifier:
    """The backdoored network; a strength of 0 gives its clean twin."""
    return Classifier(Bands(strength), input_shape=SHAPE)
