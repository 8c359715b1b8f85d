"""Processes that do one task at a time each, one torch thread each; those that die are replaced.

A worker that dies (killed for want of memory, say) costs the task it was at and nothing else. Workers
are spawned, not forked: torch's threads do not survive a fork. They ignore Ctrl-C, which is their
parent's to handle, and end when it does, however it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
GRACE = 5.0  # seconds that a worker has to end when told to
START = 300.0  # seconds that a process may take to import what it needs
ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """A task with its result, or with the reason why there is none; `died` where its process did."""

    task: Task
    result: Result | None
    failure: str | None = None
    died: bool = False


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: connection.Connection[Any, Any]
    task: Any = None
    since: float = 0.0  # by time.monotonic, when it got the task
    ready: bool = False  # whether it has begun to take tasks


class Pool(Generic[Task, Result]):
    """Processes that do `work` on one task at a time each; those that end are replaced when needed.

    Args:
        work: as for `run`.
        workers: how many processes, at least 1.
        limit: the seconds that a task may take; one that takes longer is a failure, and its process is
            ended. The start of its process is not counted, up to `START`.
        memory: the bytes that a task may take beyond what its process has when it begins; beyond that,
            memory cannot be had (`RLIMIT_DATA`, on Linux).
    """

    def __init__(
        self,
        work: Callable[[Task], Result],
        workers: int,
        *,
        limit: float | None = None,
        memory: int | None = None,
    ) -> None:
        self.slots = workers
        self._work, self._limit, self._memory = work, limit, memory
        self._busy: list[_Worker] = []
        self._idle: list[_Worker] = []

    @property
    def busy(self) -> int:
        """How many tasks are being worked on."""
        return len(self._busy)

    @property
    def room(self) -> int:
        """How many tasks can be taken now."""
        return self.slots - len(self._busy)

    def submit(self, task: Task) -> None:
        """Give a task to a process that has none; there must be `room`."""
        worker = self._idle.pop() if self._idle else _start(self._work, self._memory)
        worker.task, worker.since = task, time.monotonic()
        self._busy.append(worker)
        with suppress(OSError):  # it has died just now: the next read will tell
            worker.pipe.send(task)

    def wait(self, seconds: float | None = None) -> list[Outcome[Task, Result]]:
        """The tasks that are finished, once there is one, or after so many seconds; perhaps none."""
        rest = seconds
        if self._limit is not None and self._busy:
            left = max(0.0, min(map(self._left, self._busy)))
            rest = left if rest is None else min(rest, left)
        if not self._busy:
            time.sleep(rest or 0.0)
            return []
        ready = connection.wait([worker.pipe for worker in self._busy], rest)
        found: list[Outcome[Task, Result]] = []
        for worker in self._busy.copy():
            if worker.pipe in ready:
                found += self._heard(worker)
            elif self._limit is not None and self._left(worker) <= 0:
                self._busy.remove(worker)
                _end([worker])
                found.append(Outcome(worker.task, None, f"took longer than {self._limit:g} s"))
        return found

    def dismiss(self) -> None:
        """End the processes that have no task."""
        idle, self._idle = self._idle, []
        for worker in idle:
            worker.pipe.close()  # which ends it
        for worker in idle:
            worker.process.join(GRACE)

    def close(self) -> None:
        """End all processes, whatever they are at."""
        everyone, self._busy, self._idle = self._busy + self._idle, [], []
        _end(everyone)

    def _left(self, worker: _Worker) -> float:
        """The seconds that a worker has left."""
        assert self._limit is not None
        return worker.since + self._limit + (0.0 if worker.ready else START) - time.monotonic()

    def _heard(self, worker: _Worker) -> list[Outcome[Task, Result]]:
        """What a worker has sent, or why it sends nothing any more."""
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            self._busy.remove(worker)
            return [Outcome(worker.task, None, _why_it_ended(worker), died=True)]
        if said is None:
            worker.ready, worker.since = True, time.monotonic()
            return []
        self._busy.remove(worker)
        self._idle.append(worker)
        return [Outcome(worker.task, *said)]


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(GRACE)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _start(work: Callable[[Any], Any], memory: int | None) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs, memory), name="mmbd worker")
    with _ignoring_interrupts(), _own_environment():
        process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Worker(process, ours)


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
def _own_environment() -> Generator[None]:
    """Processes started inside have one thread, and import nothing from the working folder on their own.

    They begin with `python -c`, which puts it first: a multiprocessing.py in a stranger's zoo would
    run. What this process imports from, they get from it.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(
    work: Callable[[Any], Any], pipe: connection.Connection[Any, Any], memory: int | None = None
) -> None:
    """A worker's life: take a task, send what came of it, until the pipe is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if "torch" in sys.modules:  # `work` came with it
        sys.modules["torch"].set_num_threads(1)
    with suppress(EOFError, OSError):
        pipe.send(None)  # it is ready
        while True:
            task = pipe.recv()
            if memory is not None:
                allow(memory)
            pipe.send(attempt(work, task))


def allow(memory: int) -> None:
    """Let this process have so many bytes more of its own than it has now; not where that is not known."""
    try:
        import resource

        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        now = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = (now << 10) + memory
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    except (ImportError, OSError, StopIteration, ValueError):
        return


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def attempt(work: Callable[[Any], Any], task: Any) -> tuple[Any, str | None]:
    """The result of a task, and what went wrong."""
    try:
        return work(task), None
    except (Exception, SystemExit) as error:  # whatever a task does, the others go on
        words = str(error).strip() or "no message"
        known = isinstance(error, ValueError | OSError | ArithmeticError)
        return None, words if known else f"{type(error).__name__}: {words}"
