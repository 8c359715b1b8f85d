"""Windows on their way to their aims, one a row; see `window_climb`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

AWAY = -1  # the aim that is no class


@dataclass(frozen=True)
class Climbers:
    """Windows on their way, one a row.

    Attributes:
        aims: (rows,) classes, or `AWAY`.
        places: (rows,) numbers among the windows.
        values: (rows, channels, size) what they hold.
        velocity: (rows, channels, size) where they were going.
        scores: (rows,) the mean of what they climb.
    """

    aims: Tensor
    places: Tensor
    values: Tensor
    velocity: Tensor
    scores: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Climbers]) -> Climbers:
        """The rows of all parts."""
        return cls(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    def take(self, rows: Tensor) -> Climbers:
        """The rows at these places."""
        return Climbers(*(getattr(self, item.name)[rows] for item in fields(self)))

    def by_aim(self) -> dict[int, Tensor]:
        """Where the rows of each aim are, the best one first; of equals the first."""
        order = self.scores.argsort(descending=True, stable=True)
        order = order[self.aims[order].argsort(stable=True)]
        aims, counts = self.aims.unique(return_counts=True)
        return dict(zip(aims.tolist(), order.split(counts.tolist()), strict=True))
