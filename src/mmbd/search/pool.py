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
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.model.classifier import Classifier
from mmbd.search.ascent import Ascent
from mmbd.search.batch import Finished, Slots, rivals
from mmbd.search.memory import ran_out

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
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    queue = deque(searches)
    slots: Slots | None = None
    evaluations = retreats = 0
    while queue or slots is not None:
        try:
            slots = _fill(classifier, slots, queue, ascent, start, batch)
            done = slots.advance(classifier, ascent)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            if batch == 1:
                raise Failed("not enough memory for a single search") from error
            batch, retreats = max(1, (batch if slots is None else len(slots)) // 2), retreats + 1
            if slots is not None:  # nobody knows how far the step came: all begin again
                queue.extendleft(reversed(list(slots.searches())))
                slots = None
            continue
        evaluations += len(slots)
        if done.any():
            for row in np.flatnonzero(done).tolist():
                finished(slots.result(row, ascent))
            slots = None if done.all() else slots.without(done)
        progress(evaluations)
    return Tally(evaluations, batch, retreats)


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
