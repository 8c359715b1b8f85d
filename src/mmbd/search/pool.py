"""One pool of independent searches, run as one batch whose free rows are refilled at once.

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
from mmbd.search.batch import SearchBatch, SearchResult, rivals
from mmbd.search.memory import BatchSize

__all__ = ["PoolStats", "SearchResult", "margins", "run"]


@dataclass(frozen=True)
class PoolStats:
    """What a run of the pool took: gradient evaluations, the batch it ended with, and how
    often memory ran out and the batch was halved.
    """

    evaluations: int
    batch: int
    oom_retries: int


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
    finished: Callable[[SearchResult], None],
    progress: Callable[[int], None] = lambda evaluations: None,
) -> PoolStats:
    """Run every (class, restart) of `searches`, at most `batch` at a time.

    Args:
        classifier: frozen by the caller.
        searches: in the order in which they are to begin.
        ascent: how to climb.
        start: the starting point of a restart, shape (*shape), on any device.
        batch: the most rows; halved whenever memory runs out.
        finished: called once for every search, as it ends.
        progress: called after every step with the gradient evaluations so far.

    Raises:
        NotEvaluable: a margin is NaN or infinite, or no gradient reaches the input.
        Failed: memory runs out with a single search.
    """
    size = BatchSize(batch, "search")
    queue = deque(searches)
    running: SearchBatch | None = None
    evaluations = 0

    def step() -> NDArray[np.bool_]:
        nonlocal running
        running = _fill(classifier, running, queue, ascent, start, size.size)
        return running.advance(classifier, ascent)

    def begin_again() -> int | None:
        """Nobody knows how far the step came, so all searches under way return to the queue."""
        nonlocal running
        if running is None:
            return None
        count = len(running)
        queue.extendleft(reversed(list(running.searches())))
        running = None
        return count

    while queue or running is not None:
        done = size.run(step, begin_again)
        evaluations += len(done)
        running = _report(running, done, ascent, finished)
        progress(evaluations)
    return PoolStats(evaluations, size.size, size.oom_retries)


def _fill(
    classifier: Classifier,
    running: SearchBatch | None,
    queue: deque[tuple[int, int]],
    ascent: Ascent,
    start: Callable[[int], Tensor],
    batch: int,
) -> SearchBatch:
    """Begin searches in the free rows; they leave the queue once they have begun."""
    free = batch - (0 if running is None else len(running))
    fresh = list(islice(queue, max(0, free)))
    if fresh or running is None:
        begun = SearchBatch.begin(classifier, fresh, ascent, start)
        running = begun if running is None else running.joined(begun)
        for _ in fresh:
            queue.popleft()
    return running


def _report(
    running: SearchBatch | None,
    done: NDArray[np.bool_],
    ascent: Ascent,
    finished: Callable[[SearchResult], None],
) -> SearchBatch | None:
    """Hand over the results of the searches that are done; returns the others, None without any."""
    if running is None or not done.any():
        return running
    for row in np.flatnonzero(done).tolist():
        finished(running.result(row, ascent))
    return None if done.all() else running.without(done)
