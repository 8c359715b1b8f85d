"""How much a mask's norm costs, from pass to pass: the rules of Neural Cleanse (Wang et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

DOWN = 1.5  # the cost is divided by multiplier ** 1.5: the script's own power


@dataclass
class CostSchedule:
    """How the cost of the mask's norm rises and falls, from pass to pass.

    It is zero until `patience` passes in a row were successful, then `first`; after so many
    successful passes it is multiplied, after so many others divided by the multiplier's power 1.5.

    Args:
        steps: the most passes.
        goal: the share of images that a successful pass takes to the class.
        patience: see above; five times as many passes without progress end the search once the cost
            has gone both up and down.
        first: the cost that comes after zero.
        multiplier: of the cost.
        progress: a norm below this share of the smallest so far is progress.
        stop_early: whether to stop before `steps` at all.
    """

    steps: int
    goal: float
    patience: int
    first: float
    multiplier: float
    progress: float
    stop_early: bool
    cost: float = 0.0
    passes: int = 0
    successes: int = 0
    misses: int = 0
    to_set: int = 0
    went_up: bool = False
    went_down: bool = False
    smallest: float = math.inf
    smallest_before: float = math.inf
    idle: int = 0

    @classmethod
    def fixed(cls, steps: int, goal: float, cost: float) -> Self:
        """A cost that stays as it is for all passes."""
        return cls(steps, goal, steps + 1, cost, 1.0, 0.0, False, cost)

    @property
    def weights(self) -> tuple[float, ...]:
        """The cost of a mask's norm."""
        return (self.cost,)

    def after(self, success: float, norm: float) -> tuple[bool, bool]:
        """Whether the search is done after this pass, and whether its mask is the best so far."""
        self.passes += 1
        successful = success >= self.goal
        better = successful and norm < self.smallest
        self.smallest = min(self.smallest, norm) if successful else self.smallest
        if self.stop_early and self._stuck():
            return True, better
        self._change_cost(successful)
        return self.passes >= self.steps, better

    def _stuck(self) -> bool:
        if math.isfinite(self.smallest):
            self.idle = self.idle + 1 if self.smallest >= self.progress * self.smallest_before else 0
        self.smallest_before = min(self.smallest, self.smallest_before)
        return self.went_up and self.went_down and self.idle >= 5 * self.patience

    def _change_cost(self, successful: bool) -> None:
        self.to_set = self.to_set + 1 if successful and self.cost == 0 else 0
        if self.to_set >= self.patience:
            self.cost = self.first
            self.successes = self.misses = 0
            self.went_up = self.went_down = False
        self.successes = self.successes + 1 if successful else 0
        self.misses = 0 if successful else self.misses + 1
        if self.successes >= self.patience:
            self.successes, self.cost, self.went_up = 0, self.cost * self.multiplier, True
        elif self.misses >= self.patience:
            self.misses, self.cost, self.went_down = 0, self.cost / self.multiplier**DOWN, True
