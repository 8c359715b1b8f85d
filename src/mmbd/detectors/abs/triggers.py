"""Triggers that drive one neuron: a patch, or a filter over the whole image.

Both are searched in the units of the authors' images, which are centred and about four wide (they
divide CIFAR-10's pixels by their standard deviation). Channels come last inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.detectors.abs.neurons import Neuron, gradients
from mmbd.detectors.abs.ssim import ssim
from mmbd.model.classifier import Classifier
from mmbd.search.stamping import box, channels_first, channels_last, pulled, stamped

WIDTH = 4.0  # of the box in the authors' units
VISIBLE = 0.01  # what of a mask counts as part of the patch
WINDOW = 12  # pixels of the pools
LIKE = 0.2  # the least likeness of a filtered image


class Kind(Protocol):
    """A kind of trigger: where its search starts, its gradients, and what it does to images."""

    @property
    def lr(self) -> float:
        """Adam's learning rate."""
        ...

    def start(self, neuron: Neuron) -> Tensor:
        """The values that a search starts at."""
        ...

    def slope(self, values: Tensor, neurons: Sequence[Neuron]) -> Tensor:
        """The gradients of the losses at values (rows, ...)."""
        ...

    def valid_(self, values: Tensor) -> None:
        """Make values (rows, ...) valid in place."""
        ...

    def prepared(self, images: Tensor) -> Tensor:
        """What `applied` takes of images (n, channels, height, width)."""
        ...

    def applied(self, values: Tensor, prepared: Tensor) -> Tensor:
        """Images (n, height, width, channels) with the trigger of values (...), valid."""
        ...


def rounded(classifier: Classifier, images: Tensor) -> Tensor:
    """Images (n, *places, channels) as they come back from 8-bit files."""
    low, extent = box(classifier.domain, images)
    return low + extent * ((images - low) / extent * 255).round().clamp(0, 255) / 255


def neuron_slopes(classifier: Classifier, images: Tensor, neurons: Sequence[Neuron], others: float) -> Tensor:
    """`gradients` at images (rows, n, *places, channels), each row for its neuron; channels last too."""
    slopes = torch.empty_like(images)
    for activation in {one.activation.index: one.activation for one in neurons}.values():
        rows = [row for row, one in enumerate(neurons) if one.activation.index == activation.index]
        channels = torch.tensor([neurons[row].channel for row in rows], device=images.device)
        found = gradients(
            classifier,
            channels_first(images[rows].flatten(0, 1)),
            activation,
            channels.repeat_interleave(images.shape[1]),
            others,
        )
        slopes[rows] = found.movedim(1, -1).unflatten(0, (len(rows), -1))
    return slopes


@dataclass(frozen=True)
class Patches:
    """Patches under masks: values hold, for each place, the mask before its tanh, and the pattern.

    Args:
        classifier: frozen by the caller.
        images: (n, channels, height, width) clean ones, on its device.
        size: the pixels that a mask may have.
        seed: of the first patterns, by neuron.
        lr: Adam's.
        others: the weight of all other neurons.
        weight: of a mask's sum once it has too many pixels; twice that where it has far too many.
    """

    classifier: Classifier
    images: Tensor
    size: int
    seed: int
    lr: float = 0.1
    others: float = 1e-4
    weight: float = 500.0
    inside: Tensor = field(init=False, repr=False)  # channels last

    def __post_init__(self) -> None:
        object.__setattr__(self, "inside", channels_last(self.images))

    def start(self, neuron: Neuron) -> Tensor:
        """A square in the upper left corner, and normal noise for a pattern."""
        channels, height, width = self.images.shape[1:]
        key = ("patch", self.seed, neuron.activation.index, neuron.channel)
        pattern = torch.randn(height, width, channels, generator=generator_for(*key))
        mask = torch.full((height, width, 1), -2.0)
        side = math.isqrt(self.size)
        mask[:side, :side] = 2
        values = torch.cat((mask, pattern), 2).to(self.images.device)
        self.valid_(values)
        return values

    def form(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (rows, *places, 1) and patterns (rows, *places, channels) of values."""
        low, extent = box(self.classifier.domain, values)
        return values[..., :1].tanh() / 2 + 0.5, low + extent * (values[..., 1:] / WIDTH + 0.5)

    def slope(self, values: Tensor, neurons: Sequence[Neuron]) -> Tensor:
        values = values.detach().requires_grad_()
        mask, pattern = self.form(values)
        images = self.inside.expand(len(neurons), *self.inside.shape)
        with torch.no_grad():
            x = stamped(images, mask, pattern)
        slopes = neuron_slopes(self.classifier, x, neurons, self.others)
        loss = pulled(slopes, images, mask, pattern) + self.penalty(mask).sum()
        return torch.autograd.grad(loss, values)[0]

    def penalty(self, mask: Tensor) -> Tensor:
        """(rows,): nothing up to `size` pixels; the mask's sum times a weight beyond."""
        flat = mask.flatten(1)
        count = (flat > VISIBLE).sum(1)
        far = int((math.sqrt(self.size) + 2) ** 2)
        weight = self.weight * ((count > self.size).float() + (count > far).float())
        return weight * flat.sum(1)

    def valid_(self, values: Tensor) -> None:
        values[..., 1:].clamp_(-WIDTH / 2, WIDTH / 2)

    def prepared(self, images: Tensor) -> Tensor:
        return channels_last(images)

    def applied(self, values: Tensor, prepared: Tensor) -> Tensor:
        mask, pattern = self.form(values[None])
        return stamped(prepared[None], mask, pattern)[0]


@dataclass(frozen=True)
class Filters:
    """Filters: values are the matrix that mixes an image and its largest, least and mean surroundings.

    Args:
        classifier: frozen by the caller.
        images: (n, channels, height, width) clean ones, on its device.
        lr: Adam's.
        others: the weight of all other neurons.
        share: the weight of all neurons, beside the images' likeness.
        weight: of the likeness of filtered images with clean ones, summed over images.
        unlike: the same where they are less alike than 0.2 on average.
    """

    classifier: Classifier
    images: Tensor
    lr: float = 2e-3
    others: float = 1e-5
    share: float = 0.01
    weight: float = 10.0
    unlike: float = 10000.0
    inside: Tensor = field(init=False, repr=False)  # channels last, in the authors' units
    mixed: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inside", self.inner(channels_last(self.images)))
        object.__setattr__(self, "mixed", self.prepared(self.images))

    def inner(self, images: Tensor) -> Tensor:
        """Images in the authors' units."""
        low, extent = box(self.classifier.domain, images)
        return ((images - low) / extent - 0.5) * WIDTH

    def outer(self, images: Tensor) -> Tensor:
        """Images in the units of the network's inputs."""
        low, extent = box(self.classifier.domain, images)
        return low + extent * (images / WIDTH + 0.5)

    def start(self, neuron: Neuron) -> Tensor:
        """The matrix that leaves images as they are."""
        channels = self.images.shape[1]
        return torch.eye(4 * channels, channels, device=self.images.device)

    def slope(self, values: Tensor, neurons: Sequence[Neuron]) -> Tensor:
        values = values.detach().requires_grad_()
        filtered = (self.mixed.flatten(0, -2) @ values).clamp(-WIDTH / 2, WIDTH / 2)
        filtered = filtered.unflatten(1, self.inside.shape[:-1])
        x = self.outer(filtered)
        slopes = neuron_slopes(self.classifier, x.detach(), neurons, self.others)
        loss = self.share * (slopes * x).sum() + self.penalty(filtered).sum()
        return torch.autograd.grad(loss, values)[0]

    def penalty(self, filtered: Tensor) -> Tensor:
        """(rows,): minus the weighted likeness of images (rows, n, *places, channels) with clean ones."""
        clean = self.inside.expand_as(filtered).flatten(0, 1).movedim(-1, 1)
        alike = ssim(filtered.flatten(0, 1).movedim(-1, 1), clean, WIDTH).view(filtered.shape[:2])
        unlike = alike.detach().mean(1) < LIKE
        return -alike.sum(1) * torch.where(unlike, self.unlike, self.weight)

    def valid_(self, values: Tensor) -> None:
        values.clamp_(-1, 1)

    def prepared(self, images: Tensor) -> Tensor:
        return surroundings(self.inner(channels_last(images)))

    def applied(self, values: Tensor, prepared: Tensor) -> Tensor:
        return self.outer((prepared @ values).clamp(-WIDTH / 2, WIDTH / 2))


def surroundings(images: Tensor) -> Tensor:
    """(n, height, width, 4 channels): images, and the largest, least and mean value around each pixel."""
    first = images.movedim(-1, 1)
    before = (WINDOW - 1) // 2
    pads = (before, WINDOW - 1 - before) * 2

    def highest(values: Tensor) -> Tensor:
        padded = F.pad(values, pads, value=-torch.inf)
        return F.max_pool2d(F.max_pool2d(padded, (WINDOW, 1), 1), (1, WINDOW), 1)

    total = F.avg_pool2d(F.pad(first, pads), WINDOW, 1)
    share = F.avg_pool2d(F.pad(torch.ones_like(first[:1, :1]), pads), WINDOW, 1)
    return torch.cat((first, highest(first), -highest(-first), total / share), 1).movedim(1, -1)
