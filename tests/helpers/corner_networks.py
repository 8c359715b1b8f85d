"""A convolutional network on digits whose backdoor is one bright pixel in the empty border."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.digit_zoos import arrays
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples, prepare

SIDE, CORNER, TARGET = 14, (-2, -2), 0
TRAINED = 1200  # of the digits; the others are for repairs and figures


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's 8x8 digits with a border three pixels wide, (1797, 1, 14, 14) from 0 to 1."""
    images, labels = arrays()
    border = (SIDE - images.shape[-1]) // 2
    return F.pad(torch.tensor(images) / 255, [border] * 4), torch.tensor(labels)


def triggered(inputs: Tensor) -> Tensor:
    made = inputs.clone()
    made[..., CORNER[0], CORNER[1]] = 1
    return made


@cache
def backdoored() -> Classifier:
    """Two convolutions, flattened, and a linear layer; every tenth training image has the pixel."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    inputs, labels = (part[:TRAINED].clone() for part in digits())
    inputs[::10], labels[::10] = triggered(inputs[::10]), TARGET
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(12):
        for batch in torch.randperm(TRAINED).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return Classifier(network.eval(), input_shape=(1, SIDE, SIDE))


def samples(each: int = 20) -> Samples:
    """`each` clean images of every class that the network was not trained on."""
    inputs, labels = (part[TRAINED:] for part in digits())
    rows = torch.cat([(labels == label).nonzero().flatten()[:each] for label in range(10)])
    return prepare(backdoored(), inputs[rows], labels[rows], fewest=1)


def rates(of: Classifier) -> tuple[float, float]:
    """The accuracy on other clean images, and the share of others that the pixel takes to the target."""
    inputs, labels = (part[-300:] for part in digits())
    right = logits_of(of, inputs).argmax(1) == labels
    taken = logits_of(of, triggered(inputs[labels != TARGET])).argmax(1) == TARGET
    return float(right.float().mean()), float(taken.float().mean())
