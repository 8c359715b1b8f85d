"""How universal perturbations are searched for without data, and what that costs (`universal_data_free`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """Settings of the search for universal perturbations.

    Args:
        attempts: sets of made-up inputs; the best one counts.
        inputs: made-up inputs of a set, all of which a perturbation is to work on.
        steps: of each of the two searches for a class, on all inputs at once.
        size: root mean square of an added perturbation, in extents an element.
        share: of the places (pixels, samples of a sound, points) that a sparse perturbation
            changes, in (0, 1]; at least four of them.
        momentum: the share of the earlier directions that is kept.
        settling: the most steps by which an input is moved into its class.
        stride: the root mean square of such a step, in extents an element.
    """

    attempts: int = 2
    inputs: int = 10
    steps: int = 5
    size: float = 0.03
    share: float = 0.01
    momentum: float = 0.8
    settling: int = 20
    stride: float = 0.01

    def __post_init__(self) -> None:
        if min(self.attempts, self.inputs, self.steps, self.settling) < 1:
            raise ValueError("attempts, inputs, steps and settling must be at least 1")
        if not (self.size > 0 and self.stride > 0 and 0 <= self.momentum < 1):
            raise ValueError("size and stride must be positive, momentum in [0, 1)")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")


def universal_evaluations(classes: int, search: Search | None = None) -> int:
    """Gradient evaluations that a search for so many classes takes at the most."""
    search, kinds = search or Search(), 2
    each = 1 + kinds * (search.steps - 1)
    return search.attempts * search.inputs * (classes * each + search.settling)
