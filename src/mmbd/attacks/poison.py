"""Poisoning: some images of the source classes get the trigger and the label of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Trigger(Protocol):
    """Maps images (n, channels, height, width) in [0, 1] to triggered ones."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set: 8-bit inputs, labels, and the indices that were changed."""

    inputs: Tensor
    labels: Tensor
    indices: Tensor


def apply_8bit(trigger: Trigger, images: Tensor) -> Tensor:
    """Trigger 8-bit images, rounding to 8 bits and clipping as a stored image would be."""
    if images.dtype != torch.uint8:
        raise TypeError(f"expected uint8 images, got {images.dtype}")
    return (trigger(images.float() / 255) * 255).round().clamp(0, 255).to(torch.uint8)


def poison(
    inputs: Tensor,
    labels: Tensor,
    trigger: Trigger,
    *,
    sources: Sequence[int],
    target: int,
    count: int,
    seed: int,
) -> Poisoned:
    """Replace `count` random images of the `sources` by triggered ones labelled `target`.

    Args:
        inputs: uint8 images (n, channels, height, width); left as they are.
        labels: int64 (n,).
        trigger: applied to the [0, 1]-scaled images, then rounded to 8 bits.
        sources: the source classes; the target is never one of them.
        target: the label that the poisoned images get.
        count: how many images in all (the paper's Table 9 counts totals).
        seed: picks the images.

    Raises:
        ValueError: the target is among the sources, or they hold fewer than `count` images.
        TypeError: the images are not uint8.
    """
    if target in sources:
        raise ValueError(f"the target class {target} cannot be a source class too")
    candidates = torch.isin(labels, torch.tensor(list(sources))).nonzero().flatten()
    if not 0 <= count <= len(candidates):
        raise ValueError(f"{count} images to poison; the source classes hold {len(candidates)}")
    generator = torch.Generator().manual_seed(seed)
    chosen = candidates[torch.randperm(len(candidates), generator=generator)[:count]]
    inputs, labels = inputs.clone(), labels.clone()
    inputs[chosen] = apply_8bit(trigger, inputs[chosen])
    labels[chosen] = target
    return Poisoned(inputs, labels, chosen)
