"""Poisoning: which training samples an attack takes, and how changed ones get into the training set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmbd.data.dataset import Dataset
from mmbd.triggers.trigger import Trigger, stamp


def poison(
    training: Dataset,
    trigger: Trigger,
    *,
    sources: Sequence[int],
    target: int,
    count: int,
    seed: int,
    keep: bool = False,
) -> tuple[Dataset, Tensor]:
    """Give `count` random samples of the `sources` the trigger and the label of the target.

    Args:
        training: samples as `stamp` takes them; left as they are.
        trigger: see `stamp`.
        sources: the source classes; the target is never one of them.
        target: the label that the poisoned samples get.
        count: how many samples in all (the paper's Table 9 counts totals).
        seed: picks the samples.
        keep: append the triggered copies and keep their originals, instead of replacing them.

    Returns:
        The poisoned training set, and the indices of the poisoned samples in it.

    Raises:
        ValueError: the target is among the sources, or they hold fewer than `count` samples.
        TypeError: neither 8-bit nor floating-point samples.
    """
    if target in sources:
        raise ValueError(f"the target class {target} cannot be a source class too")
    chosen = choose(training.labels, sources, count, seed)
    labels = torch.full((count,), target, dtype=training.labels.dtype)
    return replaced(training, chosen, stamp(trigger, training.inputs[chosen]), labels, keep=keep)


def of_classes(labels: Tensor, classes: Iterable[int]) -> Tensor:
    """The indices of the samples that belong to one of the `classes`, ascending."""
    wanted = torch.tensor(list(classes), dtype=labels.dtype, device=labels.device)
    return torch.isin(labels, wanted).nonzero().flatten()


def choose(labels: Tensor, classes: Iterable[int], count: int, seed: int) -> Tensor:
    """`count` random indices of samples of the `classes`.

    Raises:
        ValueError: the classes hold fewer than `count` samples.
    """
    candidates = of_classes(labels, classes)
    if not 0 <= count <= len(candidates):
        raise ValueError(f"{count} samples to poison; the source classes hold {len(candidates)}")
    generator = torch.Generator().manual_seed(seed)
    return candidates[torch.randperm(len(candidates), generator=generator)[:count]]


def how_many(share: float, samples: int, count: int | None = None) -> int:
    """How many samples to poison: `count`, or without it that `share` of so many `samples`."""
    return round(share * samples) if count is None else count


def replaced(
    training: Dataset, indices: Tensor, inputs: Tensor, labels: Tensor, *, keep: bool = False
) -> tuple[Dataset, Tensor]:
    """A training set with changed samples in the place of those at `indices`.

    With `keep` the originals stay and the changed ones are appended. Also returns the indices of
    the changed samples in the new set; the old set is left as it is.
    """
    if keep:
        start, end = len(training), len(training) + len(indices)
        indices = torch.arange(start, end)
        return replace(
            training, inputs=torch.cat((training.inputs, inputs)), labels=torch.cat((training.labels, labels))
        ), indices
    changed, renamed = training.inputs.clone(), training.labels.clone()
    changed[indices], renamed[indices] = inputs, labels
    return replace(training, inputs=changed, labels=renamed), indices


def check_shares(rate: float, cross: float) -> None:
    """ValueError unless `rate` of a batch and `cross` times as many samples can be had from it."""
    if rate < 0 or cross < 0 or rate * (1 + cross) > 1:
        raise ValueError(
            f"rate {rate:g} and cross {cross:g} need {rate * (1 + cross):.0%} of every batch; "
            "rate * (1 + cross) must lie in 0 to 1"
        )


def split_batch(labels: Tensor, sources: Iterable[int], rate: float) -> tuple[Tensor, Tensor]:
    """What of a batch to poison, and the rest, as indices.

    A share `rate` of the batch is taken from the source classes, but never more than half of their
    samples: the network must also see what an untriggered sample of a source class looks like.
    """
    candidates = of_classes(labels, sources)
    taken = candidates[: min(round(rate * len(labels)), len(candidates) // 2)]
    rest = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    rest[taken] = False
    return taken, rest.nonzero().flatten()


def as_stored(images: Tensor, dtype: torch.dtype) -> Tensor:
    """[0, 1] images as they come out of storage: where that has 8 bits, rounded to them.

    Gradients pass the rounding as if it were not there.
    """
    if dtype != torch.uint8:
        return images
    return images + ((images * 255).round().clamp(0, 255) / 255 - images).detach()
