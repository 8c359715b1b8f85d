"""What fits into so many seconds: as much of a default scan as possible, and words on what was left out.

Work is left out in this order: universal perturbations, then restarts (with fewer than the tables of clean
networks were made with, these no longer apply), then classes, which the seed draws. Only time decides what
is left out, never a result, so that a p-value means what it says. Whatever was left out, the model cannot be
called clean where that could have told otherwise; what was found stays found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress
from mmbd.base.seeds import generator_for
from mmbd.base.text import count
from mmbd.base.text import seconds as spelled
from mmbd.model.classifier import Classifier
from mmbd.null.settings import MIN_CLASSES
from mmbd.search import memory
from mmbd.search.ascent import FAST
from mmbd.search.maximum_margins import MaximumMargins, maximum_margins
from mmbd.search.race import Race
from mmbd.search.universal_data_free import universal_evaluations

# Steps that tell how fast searches are, the first of which warms up; and searches that make them. With more
# side by side a small network is faster, and less of the time is spent on asking how fast.
PROBED, PROBES = 3, 16
# What is planned for is so much less than what there is, as no forecast is exact.
SAFE = 0.9
# What a gradient evaluation for universal perturbations takes, in those for margins: forward passes beside
# it, smaller batches while inputs settle, and picking places. 1.35 to 1.9 were measured on small networks.
UNIVERSAL = 1.5


class Over(Exception):
    """The time of what is being searched for is over; never leaves this package."""


@dataclass(frozen=True)
class Budget:
    """How much of a scan there is time for.

    Args:
        seconds: for everything.
        start: when they began, by `time.perf_counter`.
        pace: seconds a gradient evaluation.
        of: classes that the network has.
        restarts: searches a class that fit; fewer than usual leave no time for universal perturbations.
        classes: those that are searched; None for all.
        usual: the race of a whole scan; None where it has none.
        race: that race, if there is time for it.
        beside: the gradient evaluations for universal perturbations of so many classes in a whole scan.
    """

    seconds: float
    start: float
    pace: float
    of: int
    restarts: int = FAST.restarts
    classes: tuple[int, ...] | None = None
    usual: Race | None = None
    race: Race | None = None
    beside: Callable[[int], int] = universal_evaluations

    @property
    def whole(self) -> bool:
        """Whether the search for margins is that of a default scan."""
        return self.classes is None and self.restarts == FAST.restarts

    @property
    def left(self) -> float:
        """Seconds that are left; below 0 when it is over."""
        return self.start + self.seconds - time.perf_counter()

    def fits(self, margins: MaximumMargins, evaluations: int) -> bool:
        """Whether so many evaluations for universal perturbations fit, at the pace of those for margins."""
        pace = margins.seconds / max(margins.evaluations, 1)
        return self.whole and UNIVERSAL * evaluations * pace <= self.left

    def check(self, *_: object) -> None:
        """For the progress of work that may be left out; raises Over where the time is."""
        if self.left < 0:
            raise Over

    @property
    def needed(self) -> float:
        """Seconds that a whole default scan is likely to take here."""
        evaluations = self.of * FAST.restarts * FAST.steps + UNIVERSAL * self.beside(self.of)
        if self.usual is not None:
            evaluations = UNIVERSAL * self.usual.evaluations(self.of, self.beside)
        return self.pace * evaluations / SAFE

    def left_out(self, *, universal: bool) -> str | None:
        """What was left out, in a sentence without its full stop; None where nothing was.

        Args:
            universal: whether universal perturbations are of a whole scan and were left out.
        """
        if self.classes is not None:
            what = (
                f"let {count(len(self.classes))} of {count(self.of)} classes be searched, from one start each"
            )
        elif not self.whole:
            what = (
                f"let every class be searched from {self.restarts} of {FAST.restarts} starts, for which "
                "there are no tables of clean networks"
            )
        elif universal:
            what = (
                "left no time for universal perturbations, without which the combined and the joint null see "
                "nothing"
            )
        else:
            return None
        return (
            f"the budget of {spelled(self.seconds)} {what}. A whole scan takes about "
            f"{spelled(self.needed)} here (--budget, budget= in Python)"
        )


def plan(
    classifier: Classifier,
    seconds: float,
    *,
    seed: int,
    race: Race | None = None,
    beside: Callable[[int], int] = universal_evaluations,
    batch: int | None = None,
    memory_limit: int | None = None,
    guide: Classifier | None = None,
) -> Budget:
    """Measure how fast searches are here, and say how many of them fit.

    Args:
        classifier: the model.
        seconds: for everything, from now on.
        seed: draws the classes, where not all fit.
        race: how few classes a scan searches to the end; without it where that does not fit.
        beside: the gradient evaluations for universal perturbations of so many classes.
        batch: the most searches at a time.
        memory_limit: bytes for their activations.
        guide: what leads the searches (`search.precision`).

    Raises:
        NotEvaluable: not even `MIN_CLASSES` classes fit, or the network's answers cannot be compared.
        Failed: not even one search fits into memory.
    """
    start = time.perf_counter()
    pace = _pace(guide or classifier, seed, batch, memory_limit)
    whole = Budget(seconds, start, pace, classifier.classes, usual=race, beside=beside)
    one = FAST.steps * whole.pace  # seconds of a search
    room = SAFE * whole.left
    if race is not None and SAFE * whole.needed <= room:
        return replace(whole, race=race)
    restarts = int(room / (one * whole.of))
    if restarts >= 1:
        return replace(whole, restarts=min(FAST.restarts, restarts))
    some = max(0, int(room / one))
    if some < MIN_CLASSES:
        raise NotEvaluable(
            f"the budget of {spelled(seconds)} suffices for {some} of {count(whole.of)} classes, and a null "
            f"needs at least {MIN_CLASSES}. A whole scan takes about {spelled(whole.needed)} here "
            "(--budget, budget= in Python)"
        )
    drawn = torch.randperm(whole.of, generator=generator_for("budget", seed))[:some]
    return replace(whole, restarts=1, classes=tuple(sorted(drawn.tolist())))


def _pace(classifier: Classifier, seed: int, batch: int | None, memory_limit: int | None) -> float:
    """Seconds a gradient evaluation, as a few searches take them."""
    most = min(classifier.classes * FAST.restarts, PROBES)
    size = min(batch or memory.batch_size(classifier, memory_limit, most=most), most)
    restarts = min(FAST.restarts, size)
    times: list[tuple[float, int]] = []

    def note(step: Progress) -> None:
        times.append((time.perf_counter(), step.done))

    maximum_margins(
        classifier,
        seed=seed,
        classes=range(size // restarts),
        batch=size,
        progress=note,
        restarts=restarts,
        steps=PROBED,
    )
    (first, already), (last, done) = times[0], times[-1]
    return (last - first) / max(done - already, 1)
