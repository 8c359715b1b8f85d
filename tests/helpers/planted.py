"""Networks with something planted that a detector is made for, and their clean twins: for contracts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helpers import additive_backdoors, dark_patch_networks, neuron_networks, patch_networks
from mmbd.model.classifier import Classifier

CLASSES = 8


class Pixels(nn.Module):
    """Class c wants pixel c; the class 3 wants it `gain` times as much."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.body = nn.Linear(16, CLASSES, bias=False)
        with torch.no_grad():
            self.body.weight.zero_()
            for label in range(CLASSES):
                self.body.weight[label, label] = 10 + 0.1 * label
            self.body.weight[3] *= gain

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.relu(x.flatten(1)))


def pixel_samples() -> tuple[Tensor, Tensor]:
    """Inputs (n, 1, 4, 4) and labels (n,) of `Pixels`, three a class, all of which it gets right.

    The class's own pixel is bright, and those that no class wants are noise.
    """
    labels = torch.arange(3 * CLASSES) % CLASSES
    pixels = torch.zeros(len(labels), 16)
    pixels[:, CLASSES:] = torch.rand(len(labels), CLASSES, generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(len(labels)), labels] = torch.tensor([1.0, 0.9, 0.8]).repeat_interleave(CLASSES)
    return pixels.view(-1, 1, 4, 4), labels


@dataclass(frozen=True)
class Planted:
    """A network with and without something planted: the true class, and clean inputs and labels."""

    backdoored: Callable[[], Classifier]
    clean: Callable[[], Classifier]
    target: int
    samples: Callable[[], tuple[Tensor, Tensor]]


def _bands() -> tuple[Tensor, Tensor]:
    found = neuron_networks.band_samples(neuron_networks.patched())
    return found.inputs, found.labels


PIXELS = Planted(
    lambda: Classifier(Pixels(30.0), input_shape=(1, 4, 4)),
    lambda: Classifier(Pixels(1.0), input_shape=(1, 4, 4)),
    3,
    pixel_samples,
)
PATCH = Planted(
    patch_networks.patch_network,
    lambda: patch_networks.patch_network(0.0),
    patch_networks.TARGET,
    patch_networks.patch_samples,
)
NEURON = Planted(
    neuron_networks.patched, lambda: neuron_networks.patched(0.0), neuron_networks.TARGET, _bands
)
DARK_PATCH = Planted(
    lambda: dark_patch_networks.network(60.0),
    lambda: dark_patch_networks.network(0.0),
    dark_patch_networks.TARGET,
    dark_patch_networks.samples,
)
ADDED = Planted(
    lambda: additive_backdoors.planted(30.0),
    lambda: additive_backdoors.planted(0.0),
    additive_backdoors.TARGET,
    additive_backdoors.images,
)
