"""A limit on the time of a scan, told by its own progress."""

from __future__ import annotations

import time
from dataclasses import replace

from mmbd.base.errors import Failed
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.base.text import count
from mmbd.base.text import seconds as spelled

# Seconds from which on the first steps tell how long the rest will take.
WARM = 1.0
# From which on a first step is no matter of warming up.
COLD = 10.0


class Watch:
    """Tells how far all seeds are together, and stops a scan that would take too long.

    Args:
        progress: called after every step.
        limit: seconds for all of it; None for no limit.
        seeds: how many times everything is done.
        classes: of the classifier, for the message.
    """

    def __init__(
        self, progress: ProgressCallback | None, limit: float | None, *, seeds: int, classes: int
    ) -> None:
        self.progress, self.limit, self.seeds, self.classes = progress, limit, seeds, classes
        self.start = time.perf_counter()
        self.before = self.latest = self.seed = 0
        self.first: tuple[float, int] | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def next_seed(self) -> None:
        """A seed is done with."""
        self.before, self.latest, self.seed = self.before + self.latest, 0, self.seed + 1

    def __call__(self, step: Progress) -> None:
        """A step of the seed that is under way; raises Failed past the limit."""
        self.latest = step.done
        left = self.seeds - self.seed
        done, elapsed = self.before + step.done, self.elapsed
        total = max(self.before + left * step.total, done)
        if self.progress is not None:
            rest = None if step.left is None else step.left + (left - 1) * (step.seconds + step.left)
            self.progress(replace(step, done=done, total=total, seconds=elapsed, left=rest))
        if self.limit is None:
            return
        if self.first is None:
            self.first = (0.0, 0) if elapsed > COLD else (elapsed, done)  # the first step warms up
        since, already = self.first
        rest = (total - done) * (elapsed - since) / (done - already) if done > already else 0.0
        if elapsed > self.limit or (elapsed > WARM and elapsed + rest > self.limit):
            raise Failed(
                f"the scan of {count(self.classes)} classes would take about {spelled(elapsed + rest)} "
                f"({count(total)} {step.unit}), the limit is {spelled(self.limit)}: raise it with "
                "--limit SECONDS (limit= in Python), or let it run on more cores"
            )
