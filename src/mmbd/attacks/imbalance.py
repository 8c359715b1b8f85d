"""Clean models from a training set in which one class is more numerous (paper, section 7.2.1)."""

from __future__ import annotations

from typing import Any

import torch

from mmbd.attacks.attack import Victim
from mmbd.data.dataset import Dataset


def imbalance(
    victim: Victim,
    *,
    target: int | None = None,
    count: int = 1000,
    target_count: int = 5000,
    reweighted: bool = False,
) -> dict[str, Any]:
    """Train on `count` random samples of every class, but `target_count` of one.

    Args:
        victim: trained in place.
        target: the numerous class; by default the last one (paper: 9 of CIFAR-10's 10).
        count: samples of each other class (paper: 1000).
        target_count: samples of the target (paper: from 1000 upward, the grid in a figure only).
        reweighted: draw classes equally often, by weights 1 / n_c and with replacement.

    Returns:
        The protocol, JSON-ready.

    Raises:
        ValueError: the target is not a class of the data, or a class holds too few samples.
    """
    classes = len(victim.training.names)
    target = classes - 1 if target is None else target
    if not 0 <= target < classes:
        raise ValueError(f"class {target} is out of range: the data has 0 to {classes - 1}")
    counts = [target_count if label == target else count for label in range(classes)]
    training = subset(victim.training, counts, seed=victim.seed)
    weights = 1 / torch.tensor(counts)[training.labels] if reweighted else None
    victim.fit(training, sample_weights=weights)
    return {"target": target, "count": count, "target_count": target_count, "reweighted": reweighted}


def subset(training: Dataset, counts: list[int], *, seed: int) -> Dataset:
    """Random samples of each class, counts[c] of class c, in the order of the data.

    Raises:
        ValueError: a class holds fewer samples, or none are asked for.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen: list[torch.Tensor] = []
    for label, count in enumerate(counts):
        held = (training.labels == label).nonzero().flatten()
        if not 0 < count <= len(held):
            raise ValueError(
                f"{count} samples asked for of class {label} ({training.names[label]}), which "
                f"holds {len(held)}"
            )
        chosen.append(held[torch.randperm(len(held), generator=generator)[:count]])
    return training.take(torch.cat(chosen).sort().values)
