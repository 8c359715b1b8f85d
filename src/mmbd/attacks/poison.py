"""Poisoning: some samples of the source classes get the trigger and the label of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Trigger(Protocol):
    """Maps a batch of samples to triggered ones; images are in [0, 1]."""

    def __call__(self, inputs: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set: inputs, labels, and the indices of the poisoned samples in it."""

    inputs: Tensor
    labels: Tensor
    indices: Tensor


def stamp(trigger: Trigger, inputs: Tensor) -> Tensor:
    """Trigger samples as a data set stores them.

    8-bit images are scaled to [0, 1], triggered, rounded to 8 bits and clipped; floating-point
    samples (sounds, point clouds) are triggered as they are.

    Raises:
        TypeError: inputs of another kind.
    """
    if inputs.dtype == torch.uint8:
        return (trigger(inputs.float() / 255) * 255).round().clamp(0, 255).to(torch.uint8)
    if inputs.dtype.is_floating_point:
        return trigger(inputs)
    raise TypeError(f"expected 8-bit images or floating-point samples, got {inputs.dtype}")


def poison(
    inputs: Tensor,
    labels: Tensor,
    trigger: Trigger,
    *,
    sources: Sequence[int],
    target: int,
    count: int,
    seed: int,
    keep: bool = False,
) -> Poisoned:
    """Replace `count` random samples of the `sources` by triggered ones labelled `target`.

    Args:
        inputs: samples (n, ...), see `stamp`; left as they are.
        labels: int64 (n,).
        trigger: see `stamp`.
        sources: the source classes; the target is never one of them.
        target: the label that the poisoned images get.
        count: how many samples in all (the paper's Table 9 counts totals).
        seed: picks the samples.
        keep: append the triggered copies and keep their originals, instead of replacing them.

    Raises:
        ValueError: the target is among the sources, or they hold fewer than `count` samples.
        TypeError: neither 8-bit nor floating-point samples.
    """
    if target in sources:
        raise ValueError(f"the target class {target} cannot be a source class too")
    candidates = torch.isin(labels, torch.tensor(list(sources))).nonzero().flatten()
    if not 0 <= count <= len(candidates):
        raise ValueError(f"{count} samples to poison; the source classes hold {len(candidates)}")
    generator = torch.Generator().manual_seed(seed)
    chosen = candidates[torch.randperm(len(candidates), generator=generator)[:count]]
    triggered = stamp(trigger, inputs[chosen])
    if keep:
        indices = torch.arange(len(labels), len(labels) + count)
        return Poisoned(
            torch.cat((inputs, triggered)),
            torch.cat((labels, torch.full((count,), target, dtype=labels.dtype))),
            indices,
        )
    inputs, labels = inputs.clone(), labels.clone()
    inputs[chosen], labels[chosen] = triggered, target
    return Poisoned(inputs, labels, chosen)
