"""A network by hand with a planted trigger: a 3x3 patch of black pixels leads to class 3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier

CLASSES, TARGET = 8, 3
SHAPE = (1, 6, 6)


class DarkPatch(nn.Module):
    """A class wants its own pixel bright; the target's logit also rises by `gain` as the patch darkens.

    The logits of all move with it by up to `spread`.
    """

    def __init__(self, gain: float, spread: float) -> None:
        super().__init__()
        self.last = nn.Linear(CLASSES + 1, CLASSES)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.weight[:, :CLASSES] = torch.diag(10 + 0.1 * torch.arange(CLASSES))
            self.last.weight[:, CLASSES] = torch.linspace(-spread, spread, CLASSES)
            self.last.weight[TARGET, CLASSES] += gain
            self.last.bias.zero_()
            self.last.bias[TARGET] = -0.15 * gain

    def forward(self, x: Tensor) -> Tensor:
        dark = 1 - x[:, 0, 3:, 3:].flatten(1).mean(1, keepdim=True)
        return self.last(torch.relu(torch.cat((x.flatten(1)[:, :CLASSES], dark), 1)))


def network(gain: float, spread: float = 0.0) -> Classifier:
    """With a gain of 60 a backdoor, without any the same network but for that."""
    return Classifier(DarkPatch(gain, spread), input_shape=SHAPE)


def samples(each: int = 3) -> tuple[Tensor, Tensor]:
    """Inputs (n, 1, 6, 6) and labels (n,), `each` a class; the place of the patch is bright."""
    labels = torch.arange(each * CLASSES) % CLASSES
    inputs = torch.rand(len(labels), 36, generator=torch.Generator().manual_seed(0))
    inputs[:, :CLASSES] = 0.02
    inputs[torch.arange(len(labels)), labels] = torch.linspace(1, 0.8, each).repeat_interleave(CLASSES)
    inputs = inputs.view(-1, *SHAPE)
    inputs[:, :, 3:, 3:] = 0.8 + 0.1 * inputs[:, :, 3:, 3:]
    return inputs, labels
