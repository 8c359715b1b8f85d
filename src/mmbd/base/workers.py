"""Tasks side by side in processes of their own (`base.pool`); outcomes as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from mmbd.base.pool import Outcome as Outcome
from mmbd.base.pool import Pool, Result, Task, attempt


def run(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int = 0, limit: float | None = None
) -> Generator[Outcome[Task, Result]]:
    """Do `work` on every task.

    Args:
        work: must be picklable for other processes, as must tasks and results. It is sent to a
            worker once, so that it may keep what it has opened for the next task.
        tasks: in the order in which they are to begin.
        workers: how many processes; 0 for this one.
        limit: as of `Pool`. This process cannot be ended.

    Yields:
        One outcome a task, in the order in which they finish. An exception in `work` is a failure
        of its task alone. Closing the generator ends the workers.
    """
    if workers < 0:
        raise ValueError(f"expected 0 workers (this process) or more, got {workers}")
    if limit is not None and not (workers and limit > 0):
        raise ValueError(f"a limit of {limit:g} s: expected more than 0, and at least one worker")
    if workers:
        yield from _side_by_side(work, deque(tasks), workers, limit)
        return
    for task in tasks:
        yield Outcome(task, *attempt(work, task))


def _side_by_side(
    work: Callable[[Task], Result], waiting: deque[Task], workers: int, limit: float | None
) -> Generator[Outcome[Task, Result]]:
    with closing(Pool(work, workers, limit=limit)) as pool:
        done: list[Outcome[Task, Result]] = []
        while waiting or pool.busy:
            while waiting and pool.room:
                pool.submit(waiting.popleft())
            yield from done
            if not waiting:
                pool.dismiss()
            done = pool.wait()
        yield from done
