"""One pool of independent searches, run as one batch whose free slots are refilled at once.

A search maximises one class's margin from one random start. Searches do not interact, so batch
size and order change nothing but rounding; what a search draws depends on its restart alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.search.ascent import Ascent
from mmbd.search.batch import Finished, Slots, rivals
from mmbd.search.memory import BatchSize

__all__ = ["Finished", "Tally", "margins", "run"]


@dataclass(frozen=True)
class Tally:
    """What a run of the pool took: gradient evaluations, the batch it ended with, retreats."""

    evaluations: int
    batch: int
    retreats: int


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of each row's label minus the largest other logit (eq. 6), shape (batch,)."""
    return logits.gather(1, labels[:, None])[:, 0] - rivals(logits, labels)[0][:, 0]


def run(
    classifier: Classifier,
    searches: Iterable[tuple[int, int]],
    ascent: Ascent,
    start: Callable[[int], Tensor],
    *,
    batch: int,
    finished: Callable[[Finished], None],
    progress: Callable[[int], None] = lambda evaluations: None,
) -> Tally:
    """Run every (class, restart) of `searches`, at most `batch` at a time.

    Args:
        classifier: frozen by the caller.
        searches: in the order in which they are to begin.
        ascent: how to climb.
        start: the starting point of a restart, shape (*shape), on any device.
        batch: the number of slots; halved whenever memory runs out.
        finished: called once for every search, as it ends.
        progress: called after every step with the gradient evaluations so far.

    Raises:
        NotEvaluable: a margin is NaN or infinite, or no gradient reaches the input.
        Failed: memory runs out with a single search.
    """
    size = BatchSize(batch, "search")
    queue = deque(searches)
    slots: Slots | None = None
    evaluations = 0

    def step() -> NDArray[np.bool_]:
        nonlocal slots
        slots = _fill(classifier, slots, queue, ascent, start, size.size)
        return slots.advance(classifier, ascent)

    def begin_again() -> int | None:
        """Nobody knows how far the step came, so all searches under way return to the queue."""
        nonlocal slots
        if slots is None:
            return None
        count = len(slots)
        queue.extendleft(reversed(list(slots.searches())))
        slots = None
        return count

    while queue or slots is not None:
        done = size.run(step, begin_again)
        evaluations += len(done)
        slots = _report(slots, done, ascent, finished)
        progress(evaluations)
    return Tally(evaluations, size.size, size.oom_retries)


def _fill(
    classifier: Classifier,
    slots: Slots | None,
    queue: deque[tuple[int, int]],
    ascent: Ascent,
    start: Callable[[int], Tensor],
    batch: int,
) -> Slots:
    """Begin searches in the free slots; they leave the queue once they have begun."""
    free = batch - (0 if slots is None else len(slots))
    fresh = list(islice(queue, max(0, free)))
    if fresh or slots is None:
        begun = Slots.begin(classifier, fresh, ascent, start)
        slots = begun if slots is None else slots.joined(begun)
        for _ in fresh:
            queue.popleft()
    return slots


def _report(
    slots: Slots | None, done: NDArray[np.bool_], ascent: Ascent, finished: Callable[[Finished], None]
) -> Slots | None:
    """Hand over the results of the searches that are done; returns the others, None without any."""
    if slots is None or not done.any():
        return slots
    for row in np.flatnonzero(done).tolist():
        finished(slots.result(row, ascent))
    return None if done.all() else slots.without(done)
