"""Which classes are searched to the end, where there are many: a quick look at all of them comes first.

What judges images compares the classes that lead: how far the largest statistic lies above the next. So with
many classes all are searched with little, and those that lead, by the margin or by the margin times the
universal-perturbation gain, as ever. A leading class's numbers are those of a search of all classes, since
no class's search depends on another's; those of the classes that fell behind are what little search gave,
and so at most what more would have given. What compares all classes alike must not be told of them.

A class that won no input in the quick look gets a longer one, as it is not known to be behind; one that has
no gradient at its start is searched to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmbd.search.ascent import FAST
from mmbd.search.maximum_margins import MaximumMargins
from mmbd.search.universal_data_free import Search, UniversalGains, universal_evaluations

LOOK = Search(attempts=1, inputs=3, steps=1)


@dataclass(frozen=True)
class Race:
    """How little the quick look is, and how many classes go on.

    Args:
        fewest: with fewer classes there is no race.
        restarts, steps: of the search for margins in the quick look.
        universal: the search for universal perturbations in it.
        margins: classes whose margins are searched to the end.
        gains: classes whose universal perturbations are; of those above.
    """

    fewest: int = 13
    restarts: int = 1
    steps: int = 8
    universal: Search = LOOK
    margins: int = 30
    gains: int = 20

    def __post_init__(self) -> None:
        if min(self.restarts, self.steps, self.gains) < 1 or self.margins < self.gains:
            raise ValueError(f"a race needs numbers of at least 1, and no more gains than margins: {self}")

    def quick_evaluations(self, classes: int) -> int:
        """Gradient evaluations that the quick look at so many classes takes at the most."""
        return classes * self.restarts * self.steps + universal_evaluations(classes, self.universal)

    def evaluations(self, classes: int, beside: Callable[[int], int] = universal_evaluations) -> int:
        """The same of a whole race, but for classes that are looked at longer or are hard to reach.

        `beside` says what the universal perturbations of so many classes take.
        """
        whole = self.margins * FAST.restarts * FAST.steps + beside(self.gains)
        return self.quick_evaluations(classes) + whole


def unknown(margins: MaximumMargins) -> tuple[int, ...]:
    """The classes that won no input in a quick look, though they have a gradient."""
    return tuple((margins.valid & ~(margins.statistics > 0)).nonzero().flatten().tolist())


def ahead(margins: MaximumMargins, gains: UniversalGains, most: int) -> tuple[int, ...]:
    """The classes that go on after a quick look, in order of their numbers.

    They are the first `most` classes by turns of the two orders, by evidence and by margin, and all those
    without a gradient at their start.
    """
    evidence = torch.where(margins.valid, margins.statistics, 0.0).clamp_min(0) * gains.gains
    chosen = dict.fromkeys((~margins.valid).nonzero().flatten().tolist())
    wanted = len(chosen) + most
    orders = (_order(evidence), _order(margins.statistics.nan_to_num(nan=-torch.inf)))
    for pair in zip(*orders, strict=True):
        for label in pair:
            if len(chosen) < wanted:
                chosen.setdefault(label)
    return tuple(sorted(chosen))


def foremost(margins: MaximumMargins, gains: UniversalGains, most: int) -> tuple[int, ...]:
    """The first `most` classes by margin times gain, in order of their numbers."""
    evidence = margins.statistics.nan_to_num(nan=0.0) * gains.gains
    return tuple(sorted(_order(evidence)[:most]))


def margins_together(quick: MaximumMargins, whole: MaximumMargins) -> MaximumMargins:
    """The margins of a quick look at all classes, with those of the classes that were searched to the end."""
    searched = ~whole.margins.isnan().all(1)
    first = torch.arange(whole.margins.shape[1]) < quick.margins.shape[1]
    pick = searched[:, None] | ~first  # what the quick look did not do stays empty

    def rows(name: str) -> Tensor:
        all_of_it: Tensor = getattr(whole, name).clone()
        few: Tensor = getattr(quick, name)
        all_of_it[:, : few.shape[1]] = torch.where(pick[:, : few.shape[1]], all_of_it[:, : few.shape[1]], few)
        return all_of_it

    labels = [label for label in quick.curves if label not in whole.curves]
    return replace(
        whole,
        statistics=torch.where(searched, whole.statistics, quick.statistics),
        valid=torch.where(searched, whole.valid, quick.valid),
        margins=rows("margins"),
        steps=rows("steps"),
        converged=rows("converged"),
        zero_gradient=rows("zero_gradient"),
        inputs={**{label: quick.inputs[label] for label in labels if label in quick.inputs}, **whole.inputs},
        curves={**{label: quick.curves[label] for label in labels}, **whole.curves},
        evaluations=quick.evaluations + whole.evaluations,
        oom_retries=quick.oom_retries + whole.oom_retries,
        seconds=quick.seconds + whole.seconds,
    )


def gains_together(quick: UniversalGains, whole: UniversalGains) -> UniversalGains:
    """The gains of a quick look at all classes, with those of the classes that were searched to the end."""
    searched = ~whole.added.isnan()
    return replace(
        whole,
        added=torch.where(searched, whole.added, quick.added),
        sparse=torch.where(searched, whole.sparse, quick.sparse),
        moved=torch.where(searched, whole.moved, quick.moved),
        evaluations=quick.evaluations + whole.evaluations,
        oom_retries=quick.oom_retries + whole.oom_retries,
        seconds=quick.seconds + whole.seconds,
    )


def _order(values: Tensor) -> list[int]:
    return values.argsort(descending=True, stable=True).tolist()
