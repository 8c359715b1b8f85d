"""Poisoned samples and covers beside them (Qi et al. 2023).

Covers carry a weakened trigger as the poisoned samples do, but keep their label. A network that is to
fit both cannot go by the faint trigger alone, and what it makes of triggered samples lies close to what
it makes of the target class. At test time the trigger is whole, and strong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.attacks.attack import Victim
from mmbd.attacks.poison import choose, how_many, replaced
from mmbd.base.seeds import generator_for
from mmbd.data.dataset import Dataset
from mmbd.triggers.trigger import stamp

# Images (n, channels, height, width) in [0, 1] and a generator -> the same with weakened triggers.
Weakened = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Covered:
    """A training set with poisoned samples and covers.

    Args:
        training: the whole set.
        indices: of the poisoned samples and then of the covers in it.
        count: how many are poisoned.
        covers: how many are covers.
    """

    training: Dataset
    indices: Tensor
    count: int
    covers: int


def covered(
    victim: Victim,
    weakened: Weakened,
    *,
    sources: Sequence[int],
    target: int,
    rate: float,
    cover_rate: float,
    count: int | None,
    covers: int | None,
    keep: bool,
) -> Covered:
    """Poison `count` samples of the sources and let `covers` others of any class cover them.

    `rate` and `cover_rate` are shares of the training set, for the number that is None. No sample is
    both.

    Raises:
        ValueError: no sample to poison, more than the sources hold, or more covers than there are
            samples left.
    """
    training = victim.training
    count = how_many(rate, len(training), count)
    covers = how_many(cover_rate, len(training), covers)
    if count < 1:
        raise ValueError(f"{count} of {len(training)} samples to poison: expected at least 1")
    chosen = choose(training.labels, sources, count, victim.seed)
    left = torch.ones(len(training), dtype=torch.bool)
    left[chosen] = False
    others = left.nonzero().flatten()
    if not 0 <= covers <= len(others):
        raise ValueError(f"{covers} covers; {len(others)} samples are left beside the poisoned ones")
    generator = generator_for("covers", victim.seed)
    covering = others[torch.randperm(len(others), generator=generator)[:covers]]

    def carry(images: Tensor) -> Tensor:
        return weakened(images, generator)

    changed = torch.cat([stamp(carry, training.inputs[part]) for part in (chosen, covering)])
    labels = torch.cat((torch.full_like(training.labels[chosen], target), training.labels[covering]))
    poisoned, indices = replaced(training, torch.cat((chosen, covering)), changed, labels, keep=keep)
    return Covered(poisoned, indices, count, covers)
