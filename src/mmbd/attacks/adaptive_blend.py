"""Adap-Blend: half of a blended picture in training, all of it at test time (Qi et al. 2023).

The picture is cut into pieces; every poisoned sample and every cover (see `covered`) shows pieces of
its own choice, faintly. At test time the whole picture is blended in, a little stronger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.covered import covered
from mmbd.nets.blocks import image_shape
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.blend import mosaic


def adaptive_blend(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.003,
    cover_rate: float = 0.003,
    count: int | None = None,
    covers: int | None = None,
    alpha: float = 0.15,
    test_alpha: float = 0.2,
    pieces: int = 16,
    hidden: float = 0.5,
    tiles: int = 8,
    keep: bool = False,
) -> Backdoor:
    """Poison with pieces of a picture, cover, and train.

    Args:
        victim: trained in place, on images.
        sources: the classes that are attacked.
        target: the class they are taken to.
        rate: the share of the training set that is poisoned (the authors' CIFAR-10 runs: 0.003).
        cover_rate: the share that covers, see `covered` (the authors' runs: 0.003).
        count: how many samples are poisoned, instead of `rate`.
        covers: how many cover, instead of `cover_rate`.
        alpha: how much of the picture is mixed in in training (the authors' runs: 0.15).
        test_alpha: how much at test time (the authors' runs: 0.2).
        pieces: that the picture is cut into, a square number (the authors' script: 16).
        hidden: the share of them that a training sample does not show (the authors' script: 0.5).
        tiles: of the picture, see `mosaic`; the original is a cartoon.
        keep: leave the clean originals in the training set.

    Raises:
        ValueError: classes out of range, more samples than there are, shares outside 0 to 1, a
            number of pieces that is no square, or inputs that are no images.
    """
    check_labels(sources, target, len(victim.training.names))
    shape = image_shape(victim.shape)
    for name, value in (("alpha", alpha), ("test_alpha", test_alpha), ("hidden", hidden)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in 0 to 1, got {value:g}")
    trigger = mosaic(shape, seed=victim.seed, alpha=test_alpha, tiles=tiles)
    height, width = shape[1:]

    def weakened(images: Tensor, generator: torch.Generator) -> Tensor:
        shown = pieces_shown(len(images), (height, width), pieces, hidden, generator)
        weight = alpha * shown.to(images.device)
        return images + weight * (trigger.pattern.to(images.device) - images)

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
        alpha=alpha,
        test_alpha=test_alpha,
        pieces=pieces,
        hidden=hidden,
        tiles=tiles,
        keep=keep,
    )


def pieces_shown(
    count: int, size: tuple[int, int], pieces: int, hidden: float, generator: torch.Generator
) -> Tensor:
    """Masks (count, 1, height, width): 1 in pieces that an image shows, each image its own choice.

    Exactly the share `hidden` of the pieces, rounded, is 0. Where the side of an image is no multiple
    of the number of pieces along it, some are a pixel larger.

    Raises:
        ValueError: `pieces` is no square number, or there are more along a side than pixels.
    """
    side = math.isqrt(max(pieces, 0))
    if side < 1 or side * side != pieces or side > min(size):
        raise ValueError(f"expected a square number of pieces, at most a pixel each, got {pieces} for {size}")
    order = torch.rand(count, pieces, generator=generator).argsort(1).argsort(1)
    shown = (order >= round(hidden * pieces)).float().reshape(count, 1, side, side)
    rows, columns = (torch.arange(length) * side // length for length in size)
    return shown[:, :, rows[:, None], columns]
