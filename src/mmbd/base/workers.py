"""Tasks side by side in processes of their own, one torch thread each; outcomes as they come.

A worker that dies (killed for want of memory, say) costs the task it was at and nothing else; a new
one takes its place. Workers are spawned, not forked: torch's threads do not survive a fork. They
ignore Ctrl-C, which is their parent's to handle, and end when it does, however it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
GRACE = 5.0  # seconds that a worker has to end when told to


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """A task with its result, or with the reason why there is none."""

    task: Task
    result: Result | None
    failure: str | None = None


def run(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int = 0, limit: float | None = None
) -> Generator[Outcome[Task, Result]]:
    """Do `work` on every task.

    Args:
        work: must be picklable for other processes, as must tasks and results. It is sent to a
            worker once, so that it may keep what it has opened for the next task.
        tasks: in the order in which they are to begin.
        workers: how many processes; 0 for this one.
        limit: the seconds that a task may take, the start of its process included; one that takes
            longer is a failure, and its process is ended. This process cannot be ended.

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
        yield Outcome(task, *_attempt(work, task))


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: connection.Connection[Any, Any]
    task: Any
    since: float = 0.0  # by time.monotonic, when it got the task


def _side_by_side(
    work: Callable[[Task], Result], waiting: deque[Task], workers: int, limit: float | None
) -> Generator[Outcome[Task, Result]]:
    busy: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(_start(work, waiting.popleft()))
            rest = None if limit is None else max(0.0, limit - _longest(busy))
            ready = connection.wait([worker.pipe for worker in busy], rest)
            for worker in busy.copy():
                if limit is None or worker.pipe in ready:
                    continue
                if time.monotonic() - worker.since >= limit:
                    busy.remove(worker)
                    _end([worker])
                    yield Outcome[Task, Result](worker.task, None, f"took longer than {limit:g} s")
            for worker in [worker for worker in busy if worker.pipe in ready]:
                task = worker.task
                try:
                    outcome = Outcome[Task, Result](task, *worker.pipe.recv())
                except (EOFError, OSError):
                    outcome = Outcome[Task, Result](task, None, _why_it_ended(worker))
                    busy.remove(worker)
                else:
                    if waiting:
                        worker.task = waiting.popleft()
                        _send(worker)
                    else:
                        worker.pipe.close()  # which ends the worker
                        busy.remove(worker)
                        worker.process.join(GRACE)
                yield outcome
    finally:
        _end(busy)


def _longest(busy: list[_Worker]) -> float:
    """How long the slowest has been at its task."""
    return time.monotonic() - min(worker.since for worker in busy)


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(GRACE)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _start(work: Callable[[Any], Any], task: Any) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), name="mmbd worker")
    with _ignoring_interrupts(), _safe_path():
        process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    worker = _Worker(process, ours, task)
    _send(worker)
    return worker


def _send(worker: _Worker) -> None:
    worker.since = time.monotonic()
    with suppress(OSError):  # it has died just now: the next read will tell
        worker.pipe.send(worker.task)


def _why_it_ended(worker: _Worker) -> str:
    worker.process.join()
    worker.pipe.close()
    code = worker.process.exitcode or 0
    if code >= 0:
        return f"the process that ran it ended with exit code {code}"
    hint = ": out of memory?" if -code == getattr(signal, "SIGKILL", 9) else ""
    return f"the process that ran it died ({signal.strsignal(-code) or -code}{hint})"


@contextmanager
def _ignoring_interrupts() -> Generator[None]:
    """Processes started inside ignore Ctrl-C from their first moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _safe_path() -> Generator[None]:
    """Processes started inside import nothing from the working folder on their own.

    They begin with `python -c`, which puts it first: a multiprocessing.py in a stranger's zoo would
    run. What this process imports from, they get from it.
    """
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _serve(work: Callable[[Any], Any], pipe: connection.Connection[Any, Any]) -> None:
    """A worker's life: take a task, send what came of it, until the pipe is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if "torch" in sys.modules:  # `work` came with it
        sys.modules["torch"].set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for whoever imports it later
    with suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            pipe.send(_attempt(work, task))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _attempt(work: Callable[[Any], Any], task: Any) -> tuple[Any, str | None]:
    try:
        return work(task), None
    except (Exception, SystemExit) as error:  # whatever a task does, the others go on
        words = str(error).strip() or "no message"
        known = isinstance(error, ValueError | OSError | ArithmeticError)
        return None, words if known else f"{type(error).__name__}: {words}"
