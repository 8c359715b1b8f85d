"""Which weights the masks' norm takes from run to run, see `proximal_masks`: bisection, or one alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mmbd.search.proximal_masks import Run


@dataclass
class Bisection:
    """Runs of one class's universal search: a success lowers c, and so shrinks masks more; others raise it.

    Args:
        c: of the first run.
        upper: c stays below this.
        values: how many runs.
        kept: what the answers were after successful runs with a mask that is not empty.
        smallest: the run of these with the smallest area.
        areas: the area after each run.
    """

    c: float
    upper: float
    values: int
    lower: float = 0.0
    kept: list[tuple[float, Tensor]] = field(default_factory=list[tuple[float, Tensor]])
    smallest: Run | None = None
    areas: list[float] = field(default_factory=list[float])

    def ended(self, run: Run) -> bool:
        """Hear of a run; whether it was the last."""
        self.areas.append(run.area)
        if run.success and run.area > 0:
            self.kept.append((run.area, run.answers))
            if self.smallest is None or run.area < self.smallest.area:
                self.smallest = run
        if run.success:
            self.upper = self.c
        else:
            self.lower = self.c
        self.c = (self.lower + self.upper) / 2
        return len(self.areas) >= self.values


@dataclass
class Once:
    """One run: the search of one image's own perturbation."""

    c: float
    answers: Tensor | None = None
    reached: bool = False

    def ended(self, run: Run) -> bool:
        """Keep the answers; it was the only run."""
        self.answers, self.reached = run.answers[0], run.share == 1
        return True
