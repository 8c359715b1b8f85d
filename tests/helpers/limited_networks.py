"""A network of two activations, limits on its activations, and images for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mmbd.model.activations import find
from mmbd.model.bounded import Limit
from mmbd.model.classifier import Classifier

SHAPE = (3, 6, 6)


class Net(nn.Module):
    def __init__(self, act=F.relu, skip: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(20, 2)
        self.act, self.skip = act, skip

    def forward(self, x):
        x = self.act(self.first(x))
        x = self.second(x)
        return self.head((x if self.skip else self.act(x)).flatten(1))


def limits(net: nn.Module, upper: float = 0.1, **options) -> list[Limit]:
    clf = Classifier(net.eval(), input_shape=SHAPE)
    return [
        Limit(activation, torch.full((activation.channels,), upper, dtype=clf.dtype), **options)
        for activation in find(clf)
    ]


def images(count: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)).to(dtype)
