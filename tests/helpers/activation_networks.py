"""Small networks whose activations are to be found: one of any kind, and eight that share names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mmbd.model.activations import Activation
from mmbd.model.classifier import Classifier

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """A convolution, what is to be found, and a linear layer; `act` may be any function."""

    def __init__(self, act):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 2)
        self.act = act

    def forward(self, x):
        return self.head(self.act(self.conv(x)).flatten(1))


class Mixed(nn.Module):
    """One module called twice, a function three times, a container, and a shared activation."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Conv2d(4, 5, 1), self.relu, nn.Conv2d(5, 5, 1), nn.GELU())
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        x = self.relu(self.one(x))
        x = F.relu(self.relu(self.two(x)))
        x = F.elu(F.relu(self.body(x)))
        return self.head(torch.relu(x).amax((2, 3)))


def around(net: nn.Module, shape=SHAPE) -> Classifier:
    return Classifier(net.eval(), input_shape=shape, bounds=(-1, 1))


def names(activations: tuple[Activation, ...]) -> list[str]:
    return [activation.name for activation in activations]
