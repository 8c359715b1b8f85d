"""A Ray cluster as the engine of a fleet (extra `ray`): one task a model, on whichever node is free.

The driver alone writes to the store; workers read models and data by their paths, which must lead to the same
files on every node, and send report and row back. A worker or a node that dies costs its model one more try,
elsewhere. All nodes are one zone of trust: tasks travel between them as pickles, and every node needs the
same Python, Ray and mmbd. Where no cluster is running (`ray start`, or RAY_ADDRESS), one begins on this
machine.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from mmbd.base.extras import require
from mmbd.base.pool import Outcome, allow, attempt
from mmbd.workflows.fleet.asked import Task
from mmbd.workflows.fleet.fleet import GRACE, Allowed
from mmbd.workflows.fleet.work import Done, Work

START = 300.0  # seconds that a worker may take to import what it needs


@dataclass
class Begun:
    """A task that has been given away."""

    task: Task
    since: float


class Cluster:
    """Tasks on a Ray cluster.

    Args:
        workers: how many models at a time; one a processor of the cluster by default.
        allowed: what a scan may take.
        sandboxed: whether files are read in sandboxes.

    Raises:
        ImportError: Ray is not installed.
    """

    def __init__(self, workers: int | None, allowed: Allowed, *, sandboxed: bool = True) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        self._ray = require("ray", extra="ray")
        self._own = not self._ray.is_initialized()
        if self._own:
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        self._workers, self._allowed, self._sandboxed = workers, allowed, sandboxed
        # A worker that dies is the driver's to count; each task has a processor of its own, and one thread.
        self._do = self._ray.remote(num_cpus=1, max_retries=0)(do)
        self._begun: dict[Any, Begun] = {}
        self._late: set[Any] = set()

    @property
    def busy(self) -> int:
        """How many tasks have been given away."""
        return len(self._begun)

    @property
    def room(self) -> int:
        """How many more can be: nodes come and go."""
        slots = self._workers or int(self._ray.cluster_resources().get("CPU", 0)) or 1
        return slots - len(self._begun)

    def submit(self, task: Task) -> None:
        """Give a task away."""
        ref = self._do.remote(task, self._sandboxed, self._allowed.memory)
        self._begun[ref] = Begun(task, time.monotonic())

    def wait(self, seconds: float | None = None) -> list[Outcome[Task, Done]]:
        """What is finished, once something is, or after so many seconds."""
        if not self._begun:
            time.sleep(seconds or 0.0)
            return []
        ready, _ = self._ray.wait(list(self._begun), num_returns=1, timeout=seconds)
        found = [self._outcome(ref) for ref in ready]
        most = self._allowed.seconds + GRACE + START
        for ref, begun in self._begun.items():
            if ref not in self._late and time.monotonic() - begun.since > most:
                self._late.add(ref)
                self._ray.cancel(ref, force=True)
        return found

    def _outcome(self, ref: Any) -> Outcome[Task, Done]:
        task = self._begun.pop(ref).task
        if ref in self._late:
            self._late.discard(ref)
            return Outcome(task, None, f"took longer than {self._allowed.seconds:g} s")
        errors = self._ray.exceptions
        try:
            return Outcome(task, *self._ray.get(ref))
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            return Outcome(task, None, f"its worker died ({type(error).__name__})", died=True)
        except errors.RayError as error:
            return Outcome(task, None, f"{type(error).__name__}: {str(error).strip()[:300]}", died=True)

    def close(self) -> None:
        """End what is under way, and leave the cluster."""
        for ref in self._begun:
            self._ray.cancel(ref, force=True)
        self._begun = {}
        if self._own:
            self._ray.shutdown()


def begin(workers: int | None, allowed: Allowed, *, sandboxed: bool = True) -> Cluster:
    """The engine; see `Cluster`."""
    return Cluster(workers, allowed, sandboxed=sandboxed)


def do(task: Task, sandboxed: bool, memory: int | None) -> tuple[Done | None, str | None]:
    """A task on a worker, with one thread; what goes wrong comes back as words."""
    import torch

    torch.set_num_threads(1)
    if memory is not None:
        allow(memory)
    return attempt(_work(sandboxed), task)


@cache
def _work(sandboxed: bool) -> Work:
    """One for all tasks of a worker, so that it keeps its sandbox and what it has read."""
    return Work(sandboxed, forked=False)
