"""Poisoning: some samples of the source classes get the trigger and the label of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.triggers.trigger import Trigger, stamp


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set: inputs, labels, and the indices of the poisoned samples in it."""

    inputs: Tensor
    labels: Tensor
    indices: Tensor


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
