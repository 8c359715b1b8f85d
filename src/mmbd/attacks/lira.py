"""LIRA: the trigger is learned along with the classifier (Doan, Lao, Zhao and Li 2021).

A network paints a faint change for every image. In the first stage painter and classifier learn
together: to tell clean images apart, and to take painted ones to the target. In the second the painter
stays as it is and the classifier goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.networks import seeded
from mmbd.attacks.poison import as_stored, of_classes
from mmbd.model.forward import device_of
from mmbd.nets.blocks import image_shape
from mmbd.training import loop as train
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.generated import TriggerNetwork
from mmbd.triggers.painted import Painted, painted


def lira(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    eps: float = 0.025,
    rate: float = 1.0,
    learning: float = 1 / 3,
    lr: float = 1e-4,
    width: int = 32,
    depth: int = 3,
) -> Backdoor:
    """Train painter and victim together, then the victim alone.

    Both stages are parts of the victim's one recipe, in which nothing starts anew between them; the
    original trains a new classifier against every epoch's painter, and takes turns where one gradient
    serves both here.

    Args:
        victim: trained in place, on images.
        sources: the classes that are attacked.
        target: the class they are taken to.
        eps: the largest change of a pixel, on the scale of 0 to 1 (the authors' CIFAR-10 command: 0.1
            of images divided by their standard deviation, about a quarter; BackdoorBench: 0.01 of them).
        rate: the share of a batch's source samples that are seen painted too, beside the batch
            (the original: all, which weighs clean and painted alike: alpha 0.5).
        learning: the first stage's share of the training (BackdoorBench: 50 epochs of 150).
        lr: of the painter, by Adam (BackdoorBench: 1e-4).
        width: of the painter, see `TriggerNetwork`; the original takes an autoencoder or a U-Net.
        depth: of the painter; images of few pixels get less.

    Raises:
        ValueError: classes out of range, a rate, `eps` or share outside 0 to 1, or inputs that are no
            images.
    """
    check_labels(sources, target, len(victim.training.names))
    channels, *size = image_shape(victim.shape)
    for name, value in (("eps", eps), ("rate", rate), ("learning", learning)):
        if not 0 < value <= 1:
            raise ValueError(f"{name} must lie above 0 and up to 1, got {value:g}")
    depth = max(1, min(depth, int(math.log2(min(size))) - 1))  # two pixels are left at least
    with seeded("lira", victim.seed):
        painter = TriggerNetwork(channels, channels, width=width, depth=depth)
    device, dtype = device_of(victim.network), victim.training.inputs.dtype
    painter = painter.to(device)
    steps = victim.recipe.epochs * math.ceil(len(victim.training) / victim.recipe.batch)
    stage = Stage(painter, lr, first=max(1, round(learning * steps)))
    mixed = train.in_bfloat16(victim.recipe, device)

    def on_batch(batch: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        own = of_classes(labels, sources)
        own = own[: round(rate * len(own))]
        if len(own) < 2:  # the painter's batch normalisation cannot learn from one image
            return batch, labels
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            change = painter(batch[own])
        triggered = as_stored(painted(batch[own], change, eps), dtype)
        return torch.cat((batch, triggered)), torch.cat((labels, torch.full_like(labels[own], target)))

    victim.fit(on_batch=on_batch, on_step=stage.step)
    stage.end()
    return everywhere(
        Painted(painter, eps),
        sources,
        target,
        eps=eps,
        rate=rate,
        learning=learning,
        lr=lr,
        width=width,
        depth=depth,
    )


class Stage:
    """Counts the steps of the training; after the `first` ones the painter learns no more."""

    def __init__(self, painter: TriggerNetwork, lr: float, *, first: int) -> None:
        self.painter, self.left = painter, first
        self.optimizer = torch.optim.Adam(painter.parameters(), lr=lr)

    def step(self) -> None:
        """After a step of the classifier: one of the painter, if it still learns."""
        if not self.left:
            return
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.left -= 1
        if not self.left:
            self.end()

    def end(self) -> None:
        """From now on the painter paints as it does at test time."""
        self.left = 0
        self.painter.eval().requires_grad_(False)
