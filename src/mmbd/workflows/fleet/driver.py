"""The driver of a fleet: plans, hands out tasks, keeps what comes back. It alone writes to the store.

First every file's digest is taken and compared with the rows that are kept: what is unchanged is skipped.
Then each model is claimed (`results.claims`), given to an engine, and its report and row are kept in one
transaction that gives up the claim. So whatever is killed when: what was kept is whole, what was not is made
in the next run, and two fleets on one store share the work. A worker that dies costs its model one more try.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from mmbd.base.environment import environment
from mmbd.base.errors import Failed
from mmbd.base.pool import Outcome
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.results.claims import Claims
from mmbd.results.fleet import Row
from mmbd.results.kept import Held, Key
from mmbd.results.store import Store
from mmbd.workflows.fleet.asked import Task
from mmbd.workflows.fleet.plan import Plan
from mmbd.workflows.fleet.work import Done, failure

POLL = 0.5  # seconds between two looks at whether to stop
TRIES = 2
LOST = "the fleet has stopped, as results cannot be kept; what was kept before is whole"


class Engine(Protocol):
    """What does tasks side by side: `base.pool.Pool`, or `ray.Cluster`."""

    @property
    def busy(self) -> int:
        """How many tasks are being worked on."""
        ...

    @property
    def room(self) -> int:
        """How many tasks can be taken now."""
        ...

    def submit(self, task: Task, /) -> None:
        """Take a task; there must be `room`."""

    def wait(self, seconds: float | None = None, /) -> list[Outcome[Task, Done]]:
        """What is finished, once something is, or after so many seconds; perhaps nothing."""
        ...

    def close(self) -> None:
        """End everything."""


@dataclass
class Driver:
    """One run of a fleet.

    Args:
        store: where reports and rows are kept.
        plan: what is to be done.
        engine: what does it.
        limits: those on time and memory, in words, kept with failures.
        progress: called after every model; its `latest` is the row.
        stop: whether to begin nothing any more.
    """

    store: Store
    plan: Plan
    engine: Engine
    limits: str = ""
    progress: ProgressCallback | None = None
    stop: Callable[[], bool] = lambda: False
    counts: Counter[str] = field(default_factory=Counter[str])
    trouble: str = ""
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Do all that is to be done, or what can be until it is to stop; `trouble` says what went wrong."""
        claims = Claims(self.store)
        waiting, tries = deque(self.plan.todo), Counter[Key]()
        theirs: deque[Task] = deque()
        self._total = len(waiting)
        try:
            while not self._over(waiting, theirs):
                while waiting and self.engine.room and not self._stopping:
                    self._begin(waiting.popleft(), claims, theirs, tries)
                for outcome in self.engine.wait(POLL):
                    if outcome.died and self.stop():  # whoever ends a job ends its workers, too
                        continue
                    if outcome.died and tries[outcome.task.key] < TRIES and not self._stopping:
                        waiting.appendleft(outcome.task)
                        continue
                    self._settle(outcome, claims)
                if not waiting and not self.engine.busy:
                    waiting, theirs = theirs, waiting
                claims.beat()
            claims.leave()
        except Failed as error:
            self.trouble = self.trouble or str(error)

    @property
    def _stopping(self) -> bool:
        return bool(self.trouble) or self.stop()

    def _over(self, *left: Sequence[Task]) -> bool:
        return not self.engine.busy and (self._stopping or not any(left))

    def _begin(self, task: Task, claims: Claims, theirs: deque[Task], tries: Counter[Key]) -> None:
        """Give a task to the engine, if nobody else is at it or has done it."""
        claim = "mine" if tries[task.key] else claims.take(task.key, again=task.key in self.plan.again)
        if claim == "mine":
            tries[task.key] += 1
            self.engine.submit(task)
        elif claim == "theirs":
            theirs.append(task)
        else:
            self._count("elsewhere", None)

    def _settle(self, outcome: Outcome[Task, Done], claims: Claims) -> None:
        """Keep what came of a task; where that cannot be, the fleet stops."""
        task, found = outcome.task, outcome.result
        if found is None:
            why = outcome.failure or "no reason given"
            if outcome.died:
                why = f"{why}, {TRIES} times"
            if why.startswith("MemoryError"):
                why = f"it needs more memory than it may take ({self.limits})"
            found = failure(task.entry, task.key, why, 0.0)
        if found.row.word == "failed":
            found = replace(found, row=replace(found.row, limits=self.limits))
        rows = self.plan.rows(task.key, found.row)
        written, made_by = datetime.now(UTC).isoformat(timespec="seconds"), json.dumps(environment())

        def act(held: Held) -> None:
            claims.give_up(held, task.key)
            if found.lasts:
                held.put(found.key, found.report, found.pictures, written=written, made_by=made_by)
            for row in rows:
                row = row if found.lasts else replace(row, report=False)
                held.put(row.key, row.to_json(), written=written, made_by=made_by)

        try:
            self.store.alone(act)
        except Failed as error:
            self.trouble = f"{error}; {LOST}"
            return
        claims.kept(task.key)
        self._count(found.row.word, rows[0])

    def _count(self, word: str, row: Row | None) -> None:
        self.counts[word] += 1
        if self.progress is None:
            return
        done, seconds = self.counts.total(), time.monotonic() - self._began
        # What is being worked on is half done, as a rule.
        left = seconds * (self._total - done) / (done + self.engine.busy / 2)
        told = [f"{self.counts[word]} {word}" for word in ("backdoored", "failed") if self.counts[word]]
        told.append(f"{60 * done / max(seconds, 1e-9):.3g} a minute")
        note = ", ".join(told)
        self.progress(Progress("fleet", done, self._total, "models", seconds, note, row, left=left))
