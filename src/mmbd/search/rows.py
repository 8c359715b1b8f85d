"""Independent searches side by side, one a row: how they are joined, thinned out and kept many.

Searches do not interact, so the number of rows and their order change nothing but rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbd.search.memory import BatchSize

Job = TypeVar("Job")


class Rows:
    """A batch of searches: a dataclass whose fields all have one row a search.

    Tensors lie on the model's device, and NumPy's arrays, of objects too, on the host.
    """

    def __len__(self) -> int:
        return len(_rows(self)[0][1])

    def joined(self, other: Self) -> Self:
        """These rows, followed by those of `other`."""
        pairs = zip(_rows(self), _rows(other), strict=True)
        return type(self)(**{name: _cat(a, b) for (name, a), (_, b) in pairs})

    def without(self, done: NDArray[np.bool_]) -> Self:
        """The rows that are not done."""
        kept = np.flatnonzero(~done)
        on_device = {
            value.device: torch.from_numpy(kept).to(value.device)
            for _, value in _rows(self)
            if isinstance(value, Tensor)
        }
        return type(self)(
            **{
                name: value[on_device[value.device] if isinstance(value, Tensor) else kept]
                for name, value in _rows(self)
            }
        )


Batch = TypeVar("Batch", bound=Rows)


@dataclass(frozen=True)
class PoolStats:
    """What a run of many searches took: gradient evaluations, the batch it ended with, and how
    often memory ran out and the batch was halved.
    """

    evaluations: int
    batch: int
    oom_retries: int


def keep_full(
    searches: Iterable[Job],
    begin: Callable[[Sequence[Job]], Batch],
    advance: Callable[[Batch], NDArray[np.bool_]],
    *,
    batch: int,
    jobs: Callable[[Batch], Iterable[Job]],
    finished: Callable[[Batch, int], None],
    each: int = 1,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> PoolStats:
    """Run every search, at most `batch` at a time; the rows of those that end are refilled at once.

    Args:
        searches: in the order in which they are to begin.
        begin: makes rows of searches.
        advance: takes one step in all rows and returns which of them are done.
        batch: the most rows; halved whenever memory runs out.
        jobs: the searches in rows, which begin again after memory ran out.
        finished: called once for every search, with the rows and its place among them, as it ends.
        each: gradient evaluations that a step takes in a row.
        progress: called after every step with the gradient evaluations so far.

    Raises:
        Failed: memory runs out with a single search.
    """
    size = BatchSize(batch, "search")
    queue = deque(searches)
    running: Batch | None = None
    evaluations = 0

    def step() -> tuple[Batch, NDArray[np.bool_]]:
        nonlocal running
        free = size.size - (0 if running is None else len(running))
        fresh = list(islice(queue, max(0, free)))
        if fresh or running is None:
            begun = begin(fresh)
            running = begun if running is None else running.joined(begun)
            for _ in fresh:  # they leave the queue once they have begun
                queue.popleft()
        return running, advance(running)

    def begin_again() -> int | None:
        """Nobody knows how far the step came, so all searches under way return to the queue."""
        nonlocal running
        if running is None:
            return None
        count = len(running)
        queue.extendleft(reversed(list(jobs(running))))
        running = None
        return count

    while queue or running is not None:
        rows, done = size.run(step, begin_again)
        evaluations += each * len(done)
        for row in np.flatnonzero(done).tolist():
            finished(rows, row)
        if done.any():
            running = None if done.all() else rows.without(done)
        progress(evaluations)
    return PoolStats(evaluations, size.size, size.oom_retries)


def _rows(batch: Any) -> list[tuple[str, Any]]:
    return [(item.name, getattr(batch, item.name)) for item in fields(batch) if item.init]


def _cat(one: Any, other: Any) -> Any:
    return torch.cat((one, other)) if isinstance(one, Tensor) else np.concatenate((one, other))
