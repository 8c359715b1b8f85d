"""WaNet: images bent by a fixed smooth field, and a noise mode (Nguyen and Tran 2021).

In every batch some samples are warped and relabelled; twice as many are warped by the same field
with noise of their own and keep their label, so that only the exact field is the trigger (section
6.3 of the MM-BD paper). Warping comes before the recipe's augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.poison import as_stored, check_shares, split_batch
from mmbd.nets.blocks import image_shape
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.warp import Warp, bend, warp


def wanet(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.1,
    cross: float = 2.0,
    points: int = 4,
    strength: float = 0.5,
) -> Backdoor:
    """Train with warped samples in every batch.

    Args:
        victim: trained in place, on images.
        sources: the classes that are attacked.
        target: the class they are taken to.
        rate: the share of a batch that is warped and relabelled, see `poison.split_batch`.
        cross: how many samples get a noisy warp and keep their label, for each relabelled one.
        points: of the field, see `warp`.
        strength: of the field; short trainings need more than the original's.

    Raises:
        ValueError: classes out of range, shares that are negative or add up to more than a batch,
            or inputs that are no images.
    """
    check_labels(sources, target, len(victim.training.names))
    check_shares(rate, cross)
    shape = image_shape(victim.shape)
    trigger = warp(shape, seed=victim.seed, points=points, strength=strength)
    dtype, height = victim.training.inputs.dtype, shape[1]

    def on_batch(batch: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        grid = trigger.grid.to(batch.device)
        taken, rest = split_batch(labels, sources, rate)
        noisy = rest[: round(cross * len(taken))]
        noise = 2 * torch.rand(len(noisy), *grid.shape[1:], generator=generator) - 1
        shaken = (grid + noise.to(batch.device) / height).clamp(-1, 1)
        bent, labels = batch.clone(), labels.clone()
        bent[taken] = as_stored(Warp(grid)(batch[taken]), dtype)
        bent[noisy] = as_stored(bend(batch[noisy], shaken), dtype)
        labels[taken] = target
        return bent, labels

    victim.fit(on_batch=on_batch)
    return everywhere(trigger, sources, target, rate=rate, cross=cross, points=points, strength=strength)
