"""Bounds on what a test may cost: hostile files must be answered soon and with little memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Cost:
    """Processor time, and by how much the process's memory grew meanwhile (None if unknown)."""

    seconds: float = 0.0
    megabytes: float | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """What the body costs, known when it has ended."""
    cost = Cost()
    before = _resident("VmRSS")
    if before is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    started = time.process_time()
    yield cost
    cost.seconds = time.process_time() - started
    peak = _resident("VmHWM")
    if before is not None and peak is not None:
        cost.megabytes = (peak - before) / 1000


@contextmanager
def bounded(seconds: float = 20.0, megabytes: float = 50.0) -> Iterator[None]:
    """Fail when the body takes more processor time, or the process so much more memory in it."""
    with measured() as cost:
        yield
    assert cost.seconds < seconds
    assert cost.megabytes is None or cost.megabytes < megabytes


def _resident(field: str) -> int | None:
    """Kilobytes of physical memory, from Linux; None elsewhere."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0])
    except (OSError, IndexError):
        return None
