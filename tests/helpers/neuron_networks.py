"""Networks for ABS: classes are bright bands, and one neuron answers to a patch or a tint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare

CLASSES, SIDE, TARGET = 5, 12, 3
SHAPE = (3, SIDE, SIDE)


def bands(detector: Tensor, bias: float, strength: float, activation: nn.Module | None = None) -> Classifier:
    """Logit c is the brightness of rows 1 + 2c and 2 + 2c.

    A second channel answers to `detector` (3, 3, 3), and adds `strength` times its sum to the target.
    """
    conv = nn.Conv2d(3, 2, 3)
    last = nn.Linear(2 * 100, CLASSES, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, :, 1, 1] = 1 / 3
        conv.weight[1] = detector
        conv.bias.copy_(torch.tensor([0.0, bias]))
        weight = last.weight.zero_().view(CLASSES, 2, 10, 10)
        for label in range(CLASSES):
            weight[label, 0, 2 * label : 2 * label + 2] = 1
        weight[TARGET, 1] = strength
    net = nn.Sequential(conv, nn.ReLU() if activation is None else activation, nn.Flatten(), last)
    return Classifier(net, input_shape=SHAPE)


def patched(strength: float = 20.0, activation: nn.Module | None = None) -> Classifier:
    """The neuron answers to 3 x 3 pixels of red without green; with strength 0, the clean twin."""
    detector = torch.zeros(3, 3, 3)
    detector[0], detector[1] = 1, -1
    return bands(detector, -4.0, strength, activation)


def tinted(strength: float = 0.1) -> Classifier:
    """The neuron answers to every pixel that is more red than green."""
    detector = torch.zeros(3, 3, 3)
    detector[0, 1, 1], detector[1, 1, 1] = 10, -10
    return bands(detector, -2.0, strength)


def band_samples(of: Classifier, each: int = 2, *, seed: int = 0) -> Samples:
    """`each` grey images of every class, all of which the network gets right."""
    labels = torch.arange(each * CLASSES) % CLASSES
    generator = torch.Generator().manual_seed(seed)
    grey = 0.2 * torch.rand(len(labels), 1, SIDE, SIDE, generator=generator)
    for place, label in enumerate(labels.tolist()):
        grey[place, 0, 1 + 2 * label : 3 + 2 * label] += 0.8
    return prepare(of, grey.expand(-1, 3, -1, -1).contiguous(), labels, fewest=1)


class Stages(nn.Module):
    """Activations of every kind: alone, inside and after a residual block, and on flat features."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU, **options: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act = nn.Conv2d(3, 4, 3, padding=1), activation(**options)
        self.inner, self.act_inner = nn.Conv2d(4, 4, 3, padding=1), activation(**options)
        self.outer, self.act_outer = nn.Conv2d(4, 4, 3, padding=1), activation(**options)
        self.hidden, self.act_hidden = nn.Linear(4, 6), activation(**options)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.act_outer(x + self.outer(self.act_inner(self.inner(x))))
        return self.head(self.act_hidden(self.hidden(x.mean((2, 3)))))

    def activations(self) -> list[nn.Module]:
        return [self.act, self.act_inner, self.act_outer, self.act_hidden]


def stages(activation: type[nn.Module] = nn.ReLU, **options: bool) -> Classifier:
    return Classifier(Stages(activation, **options), input_shape=(3, 6, 6), mean=0.5, std=0.2)
