"""Shadow models of a size that trains in a moment, and a meta-classifier made by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbd.data.dataset import Dataset
from mmbd.detectors.meta.classifier import Parts
from mmbd.detectors.meta.plan import Plan
from mmbd.detectors.meta.trained import Meta
from mmbd.training.loop import Recipe

SHAPE, CLASSES = (1, 6, 6), 3


def samples(count: int = 60, *, seed: int = 0) -> Dataset:
    """8-bit images, the classes in turn: each class's own picture under noise."""
    own = torch.rand(CLASSES, *SHAPE, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % CLASSES
    noise = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    images = (0.7 * own[labels] + 0.3 * noise) * 255
    return Dataset(images.to(torch.uint8), labels, tuple("abc"))


def plan(*, seed: int = 0, epochs: int = 20, **more) -> Plan:
    """Perceptrons that are trained by a few steps."""
    recipe = Recipe(epochs=epochs, batch=20, lr=0.01, schedule="constant")
    arguments = {"hidden": (16,)}
    return Plan(
        **({"input_shape": SHAPE, "classes": CLASSES, "arch": "mlp", "arguments": arguments} | more),
        recipe=recipe,
        seed=seed,
    )


def handmade(shape: tuple[int, ...], classes: int, label: int, *, threshold: float = 0.9) -> Meta:
    """A meta-classifier with two queries of ones: its logit is the mean standardised logit of a class."""
    weight = torch.zeros(1, 1, 2 * classes)
    weight[0, 0, [label, classes + label]] = 0.5
    parts = Parts(torch.ones(1, 2, *shape), weight, torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1))
    scores: list[Tensor] = [threshold + sign * torch.tensor([0.4, 0.5, 0.8, 1.0]) for sign in (-1, 1)]
    return Meta(parts, (0.0, 1.0), True, scores[0], scores[1], {"architecture": "none: made by hand"})
