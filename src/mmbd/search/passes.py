"""How one of many searches is led over its images, pass by pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Schedule(Protocol):
    """How one search is led from one pass over its images to the next.

    `weights` are those of the penalties in the next pass; `after` hears of the pass that has ended
    the share of images that went to the class and the mean L1 norm of the mask, and says whether
    the search is done and whether this is its best candidate so far.
    """

    @property
    def weights(self) -> tuple[float, ...]: ...

    def after(self, success: float, norm: float) -> tuple[bool, bool]: ...


@dataclass
class Search:
    """One search: its class, which images come when, and how it is going.

    Args:
        label: the class that images are to be taken to.
        schedule: see `Schedule`.
        minibatches: the places of the images of each step, without end.
        hits, norms: sums over the pass under way.
        curve: the mean norm of every pass.
        reached: whether a pass reached its goal, so that there is a best candidate.
    """

    label: int
    schedule: Schedule
    minibatches: Iterator[Tensor]
    hits: float = 0.0
    norms: float = 0.0
    curve: list[float] = field(default_factory=list[float])
    reached: bool = False


def minibatches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Places of `count` images in minibatches of at most `size`, all of one length, without end.

    Every pass is in a new random order. Where the last minibatch would be shorter, it takes images
    from the pass's start once more.
    """
    steps = steps_a_pass(count, size)
    length = math.ceil(count / steps)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from torch.cat((order, order[: steps * length - count])).split(length)


def steps_a_pass(count: int, size: int) -> int:
    """The minibatches in a pass over `count` images."""
    return math.ceil(count / size)
