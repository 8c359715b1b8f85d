"""One pool of independent searches, run as one batch whose free rows are refilled at once.

A search maximises one class's margin from one random start. Searches do not interact, so batch
size and order change nothing but rounding; what a search draws depends on its restart alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.search.ascent import Ascent
from mmbd.search.batch import SearchBatch, SearchResult, rivals
from mmbd.search.rows import PoolStats, keep_full

__all__ = ["PoolStats", "SearchResult", "margins", "run"]


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
    return keep_full(
        searches,
        partial(SearchBatch.begin, classifier, ascent=ascent, start=start),
        lambda running: running.advance(classifier, ascent),
        batch=batch,
        jobs=SearchBatch.searches,
        finished=lambda running, row: finished(running.result(row, ascent)),
        progress=progress,
    )
