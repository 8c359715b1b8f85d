"""Adap-Patch: one faint patch of four in training, several opaque ones at test time (Qi et al. 2023).

Every poisoned sample and every cover (see `covered`) carries one of the patches, half transparent. At
test time some of them together, fully opaque, are the trigger.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.covered import covered
from mmbd.base.seeds import generator_for
from mmbd.nets.blocks import image_shape
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.patch import Patch, badnet


def adaptive_patch(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.003,
    cover_rate: float = 0.006,
    count: int | None = None,
    covers: int | None = None,
    opacities: tuple[float, ...] = (0.5, 0.2, 0.5, 0.3),
    at_test: int = 2,
    size: int | None = None,
    keep: bool = False,
) -> Backdoor:
    """Poison with one patch a sample, cover, and train.

    Args:
        victim: trained in place, on images.
        sources: the classes that are attacked.
        target: the class they are taken to.
        rate: the share of the training set that is poisoned (the authors' CIFAR-10 runs: 0.003).
        cover_rate: the share that covers, see `covered` (the authors' runs: 0.006).
        count: how many samples are poisoned, instead of `rate`.
        covers: how many cover, instead of `cover_rate`.
        opacities: of the four patches in training (the authors' script: 0.5, 0.2, 0.5, 0.3).
        at_test: how many of them, the most opaque ones first, are the trigger (the authors' script: 2).
        size: of a patch, in pixels; by default a quarter of the image's smaller side. Patches are
            squares of noise, one in each quarter of the image; the authors' are logos and squares of
            about that size.
        keep: leave the clean originals in the training set.

    Raises:
        ValueError: classes out of range, more samples than there are, other than four opacities from
            0 to 1, patches that do not fit into a quarter, or inputs that are no images.
    """
    check_labels(sources, target, len(victim.training.names))
    shape = image_shape(victim.shape)
    size = min(shape[1:]) // 4 if size is None else size
    patches = quarters(shape, seed=victim.seed, size=size)
    if len(opacities) != len(patches) or not all(0 <= opacity <= 1 for opacity in opacities):
        raise ValueError(f"expected {len(patches)} opacities from 0 to 1, got {list(opacities)}")
    if not 1 <= at_test <= len(patches):
        raise ValueError(f"at_test is {at_test}, expected 1 to {len(patches)}")
    shown = sorted(range(len(patches)), key=lambda number: -opacities[number])[:at_test]
    trigger = together([patches[number] for number in shown])

    def weakened(images: Tensor, generator: torch.Generator) -> Tensor:
        mixed = images.clone()
        for number, (patch, opacity) in enumerate(zip(patches, opacities, strict=True)):
            own = images[number :: len(patches)]
            weight = opacity * patch.mask.to(images.device)
            mixed[number :: len(patches)] = own + weight * (patch.pattern.to(images.device) - own)
        return mixed

    poisoned = covered(
        victim,
        weakened,
        sources=sources,
        target=target,
        rate=rate,
        cover_rate=cover_rate,
        count=count,
        covers=covers,
        keep=keep,
    )
    victim.fit(poisoned.training)
    return everywhere(
        trigger,
        sources,
        target,
        poisoned.indices,
        count=poisoned.count,
        covers=poisoned.covers,
        opacities=list(opacities),
        at_test=at_test,
        size=size,
        keep=keep,
    )


def quarters(shape: tuple[int, int, int], *, seed: int, size: int) -> list[Patch]:
    """Four squares of noise, at a random place in each quarter of an image.

    Raises:
        ValueError: the squares do not fit into the quarters.
    """
    channels, height, width = shape
    below, right = height // 2, width // 2
    if not 1 <= size <= min(below, right):
        raise ValueError(f"four patches of {size} pixels do not fit into an image of {shape}")
    patches: list[Patch] = []
    for number in range(4):
        own = generator_for("quarter", seed, number).initial_seed()
        patch = badnet((channels, below, right), seed=own, size=size)
        row, column = below * (number // 2), right * (number % 2)
        edges = (column, width - right - column, row, height - below - row)
        patches.append(Patch(F.pad(patch.pattern, edges), F.pad(patch.mask, edges)))
    return patches


def together(patches: Sequence[Patch]) -> Patch:
    """Patches that do not overlap, as one."""
    pattern = torch.stack([patch.pattern for patch in patches]).sum(0)
    return Patch(pattern, torch.stack([patch.mask for patch in patches]).sum(0))
