"""Whether enough of a search's images go to its target: looked up image by image, until it is known.

Those that resisted when they were last looked at come first, so that most looks end soon. Whatever
is known, it is what counting all images would say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOOK = 16  # images of a row that are looked at side by side, at least
Pair = tuple[int | None, int]  # source class (None for all others) and target class


@dataclass
class Search:
    """One search, and what it knows of its images.

    Args:
        pair: the source and the target.
        places: (n,) where its images lie among all of them.
        needed: so many of them have to go to the target.
        generator: of its minibatches.
        resisting: (n,) which images did not go to the target when they were last looked at.
    """

    pair: Pair
    places: NDArray[np.int64]
    needed: int
    generator: torch.Generator
    resisting: NDArray[np.bool_]

    def drawn(self, size: int) -> NDArray[np.int64]:
        """A minibatch: places among its own images, none twice."""
        return torch.randperm(len(self.places), generator=self.generator)[:size].numpy()


@dataclass
class Look:
    """How many images of a row go to the target, as far as it has been looked at."""

    search: Search
    unseen: NDArray[np.bool_]
    hits: int = 0

    @classmethod
    def at(cls, search: Search) -> Look:
        """A look that has seen nothing yet."""
        return cls(search, np.ones(len(search.places), np.bool_))

    def saw(self, picked: NDArray[np.int64], went: NDArray[np.bool_]) -> None:
        """Images of these numbers went to the target, or did not."""
        self.unseen[picked] = False
        self.search.resisting[picked] = ~went
        self.hits += int(went.sum())

    @property
    def reached(self) -> bool | None:
        """Whether enough of all images go to the target; None as long as that is open."""
        if self.hits >= self.search.needed:
            return True
        return False if self.hits + int(self.unseen.sum()) < self.search.needed else None

    def next(self) -> NDArray[np.int64]:
        """The images to look at next: as few as may settle it, those that resisted last first."""
        unseen = np.flatnonzero(self.unseen)
        order = unseen[np.argsort(~self.search.resisting[unseen], kind="stable")]
        short = self.search.needed - self.hits
        return order[: max(LOOK, min(short, len(unseen) - short + 1))]


def needed(goal: float, count: int) -> int:
    """The fewest of `count` that are a share of at least `goal`."""
    guess = math.ceil(goal * count)
    return next(number for number in range(max(0, guess - 1), guess + 2) if number / count >= goal)


def tell(looks: Sequence[Look], picked: Sequence[NDArray[np.int64]], went: Tensor) -> None:
    """Tell every look which of the images picked for it went to its target, one look after the other."""
    parts = np.split(went.cpu().numpy(), np.cumsum([len(own) for own in picked])[:-1])
    for look, own, part in zip(looks, picked, parts, strict=True):
        look.saw(own, part)
