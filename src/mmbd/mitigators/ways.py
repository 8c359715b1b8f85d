"""How bounds are made from what clean samples reach at every place, and samples that are left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.base.seeds import generator_for

CHANGED = 0.01  # of the answers to samples that were left out, and one: more than bounds by channel change
FOLDS = 3
FEWEST = 6  # samples: fewer say nothing about each other
POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class Way(NamedTuple):
    """How bounds by place are made: from what all but a share `rank` of the samples stay under there,
    and at least a `share` of the channel's bound.
    """

    rank: float
    share: float


def nearby(values: Tensor) -> Tensor:
    """The highest of (n, channels, *places) at every place or next to it."""
    return POOLS[values.dim() - 2](values, 3, stride=1, padding=1)


def highest(values: Sequence[Tensor], count: int) -> Tensor:
    """The `count` highest of all (n, *shape), the highest first."""
    joined = torch.cat(list(values))
    return joined.topk(min(count, len(joined)), dim=0).values


def left_out(count: int, seed: int) -> tuple[Tensor, ...]:
    """The places of `count` samples in random order, in thirds: each is left out once."""
    return torch.randperm(count, generator=generator_for("places", seed)).tensor_split(FOLDS)


def affordable(changed: int, samples: int) -> float:
    """How many answers may change where bounds by channel change so many."""
    return changed + 1 + CHANGED * samples
