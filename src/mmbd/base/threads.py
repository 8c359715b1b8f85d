"""As many threads as the machine has cores free: those that wait for a core are given up as work goes on.

Threads of one computation wait for each other at every step, so that where other processes want the cores,
the slowest thread sets the pace of all. How much processor time a process gets, against what its threads
could use, tells it, whoever else is there; small networks, which threads do not speed up, show it too.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from mmbd.base.progress import Progress, ProgressCallback

EVERY = 1.0  # seconds between two looks
LONGEST = 10.0  # between two looks: what was stopped, or waited for something else, tells nothing
USED = 0.8  # of what its threads could use: with less, there are too many of them


@contextmanager
def sharing(told: ProgressCallback | None = None) -> Generator[ProgressCallback]:
    """A callback for a long job that keeps torch's threads to what they get done, and passes `told` on.

    It never takes more threads than there were; afterwards there are as many as before.
    """
    last: tuple[float, float] | None = None
    before: int | None = None

    def look(progress: Progress) -> None:
        nonlocal last, before
        now = time.monotonic(), time.process_time()
        if last is None:
            import torch

            last, before = now, torch.get_num_threads()
        elif (passed := now[0] - last[0]) >= EVERY:
            if passed < LONGEST:
                fit(spent=now[1] - last[1], passed=passed)
            last = now
        if told is not None:
            told(progress)

    try:
        yield look
    finally:
        if before is not None:
            import torch

            torch.set_num_threads(before)


def fit(*, spent: float, passed: float) -> int:
    """Give up threads that got no processor time: `spent` seconds of it while so many `passed`.

    Returns:
        torch's threads from now on.
    """
    import torch

    threads = torch.get_num_threads()
    if spent < USED * threads * passed and threads > 1:
        threads = max(1, round(spent / passed))
        torch.set_num_threads(threads)
    return threads
