"""How far a long job is, told the same way by every job."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a job is, after one of its steps.

    Args:
        stage: what is being done, for a person: "maximum margins", "training".
        done: steps so far, in `unit`.
        total: steps expected in all; an estimate, never less than `done`.
        unit: what is counted: "gradient evaluations", "models", "answers", "steps".
        seconds: since the start.
        note: where it is, in a few words: "3 of 10 classes".
        latest: the result that came last, where every step has one: a card, an answer.
        left: the seconds that the rest is likely to take, where its steps take longer than those so far.
    """

    stage: str
    done: int
    total: int
    unit: str
    seconds: float
    note: str = ""
    latest: Any = None
    left: float | None = None

    @property
    def seconds_left(self) -> float:
        """The time left: what the job expects itself, else that at the pace so far."""
        if self.left is not None:
            return self.left
        return self.seconds * max(self.total - self.done, 0) / max(self.done, 1)


ProgressCallback = Callable[[Progress], None]


def spent(progress: ProgressCallback | None, stage: str, total: int) -> Callable[[int], None]:
    """What tells `progress` of the gradient evaluations spent so far, of about `total`."""
    started = time.perf_counter()

    def tell(evaluations: int) -> None:
        if progress is not None:
            seconds = time.perf_counter() - started
            most = max(total, evaluations)
            progress(Progress(stage, evaluations, most, "gradient evaluations", seconds))

    return tell
