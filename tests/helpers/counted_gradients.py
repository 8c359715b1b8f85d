"""A model that counts the inputs that gradients come back for, and the largest batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Counted(nn.Module):
    """What `model` says; `evaluations` is how many inputs gradients came back for, `largest` the batch."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.evaluations, self.largest = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, len(x))
        logits = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits + 0.0

    def count(self, gradient: Tensor) -> None:
        self.evaluations += len(gradient)

    def reset(self) -> None:
        self.evaluations = self.largest = 0


def convolutional(classes: int, side: int = 32) -> nn.Module:
    """A network of random weights in which all classes occur."""
    torch.manual_seed(0)
    last = nn.Linear(288, classes)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        last,
    )
    with torch.no_grad():
        last.weight.mul_(30)
        last.bias.sub_(net(torch.rand(200, 3, side, side)).mean(0))
    return net.eval()
