"""Fine-tuning a copy of a classifier on clean samples, as the baseline mitigators do.

Stochastic gradient descent with momentum 0.9 and a cosine schedule. Two things are not as
published, because users have few clean samples and small networks. The norm of the gradient is
bounded: a network that is sure of itself answers a stamped sample with a gradient that destroys it
in one step at the published learning rates, which are fine with the bound. And nothing but the
weights and BatchNorm's statistics moves: dropout is off, so that the result follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from mmbd.base.errors import NotMitigated
from mmbd.mitigators.mitigator import trainable
from mmbd.model.classifier import Classifier
from mmbd.training.loop import Recipe, fit

HOLE = 3  # pixels: the side of the square that cutout blackens, as NAD's program has it


class _Trained(nn.Module):
    """The network with the classifier's normalisation before it and plain logits after it."""

    def __init__(self, classifier: Classifier, network: nn.Module, move_statistics: bool) -> None:
        super().__init__()
        self.network = network
        self.logits = classifier.around(network)
        self.move_statistics = move_statistics

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits(inputs)

    def train(self, mode: bool = True) -> Self:
        super().train(False)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                module.train(mode and self.move_statistics)
        return self


def tune(
    classifier: Classifier,
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    lr: float,
    batch: int,
    clip: float | None,
    augment: tuple[str, ...],
    move_statistics: bool,
    seed: int,
    weight_decay: float = 0.0,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    on_step: Callable[[], None] | None = None,
) -> list[float]:
    """Train `network` in place.

    Args:
        classifier: what the network is a copy of; says how inputs are normalised.
        network: in eval mode afterwards, each `requires_grad` as it was.
        inputs: valid inputs (n, *shape).
        labels: their classes (n,).
        epochs: how often every sample is seen.
        lr: the first learning rate.
        batch: the samples of a step, at least 2.
        clip: the largest norm of a step's gradient, if any.
        augment: see `train.Recipe`; also "cutout", see `cutout`. It should be what the classifier
            was trained with: on networks trained without, shifts and flips cost more accuracy than
            they saved.
        move_statistics: normalise by the batch and move BatchNorm's running statistics, as
            published; without, the same learning rates diverge.
        seed: of the order and the augmentation.
        weight_decay: of all weights.
        penalty: added to every batch's cross-entropy.
        on_step: called after every step, see `counted`.

    Returns:
        The mean loss of every epoch.

    Raises:
        ValueError: a batch of less than 2, an unknown augmentation, or cutout of what is no image.
        NotMitigated: the loss is no longer finite.
    """
    if batch < 2:
        raise ValueError(f"a batch needs at least 2 samples, got {batch}")
    holes = "cutout" in augment
    if holes and inputs.dim() != 4:
        raise ValueError(f"cutout is for images, not for inputs of shape {tuple(inputs.shape[1:])}")
    known = tuple(name for name in augment if name != "cutout")
    recipe = Recipe(epochs, batch, lr, "sgd", weight_decay, augment=known, clip=clip)
    losses: list[float] = []
    try:
        with trainable(network):
            fit(
                _Trained(classifier, network, move_statistics),
                inputs,
                labels,
                recipe,
                seed=seed,
                penalty=penalty,
                on_batch=cutout if holes else None,
                on_step=on_step,
                on_epoch=lambda _, loss: losses.append(loss),
            )
    except FloatingPointError as error:
        raise NotMitigated(f"{error}: try a smaller learning rate than {lr:g}") from error
    return losses


def tuning_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options that `tune` takes, from the `locals()` of a mitigator."""
    names = ("epochs", "lr", "batch", "clip", "augment", "move_statistics", "seed")
    return {name: arguments[name] for name in names}


def cutout(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch with a black square of `HOLE` pixels at a random place of every image.

    Its centre lies in the image, so that part of it may not (DeVries and Taylor 2017).

    Args:
        images: (batch, channels, height, width), left as they are.
        labels: (batch,), returned as they are.
        generator: of the places.
    """
    count, _, height, width = images.shape
    device = images.device

    def near(side: int) -> Tensor:
        centres = torch.randint(side, (count, 1), generator=generator).to(device)
        return (torch.arange(side, device=device) - centres).abs() <= HOLE // 2

    hole = near(height)[:, :, None] & near(width)[:, None, :]
    return images.masked_fill(hole[:, None], 0.0), labels


def steps(count: int, epochs: int, batch: int) -> int:
    """How many steps `tune` takes on `count` samples; a last batch of one is left out."""
    whole, rest = divmod(count, batch)
    return epochs * (whole + (rest > 1 or count == 1))
