"""Threads that get no processor time are given up, and never taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mmbd.base import threads
from mmbd.base.progress import Progress


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads_before", "spent", "passed", "after"),
    [
        (4, 8.0, 2.0, 4),
        (4, 6.5, 2.0, 4),
        (4, 4.0, 2.0, 2),
        (4, 0.1, 2.0, 1),
        (2, 2.2, 2.0, 1),
        (1, 0.1, 2.0, 1),
    ],
)
def test_as_many_threads_as_were_busy(threads_before: int, spent: float, passed: float, after: int) -> None:
    torch.set_num_threads(threads_before)
    assert threads.fit(spent=spent, passed=passed) == after == torch.get_num_threads()


def test_a_job_that_waits_gives_its_threads_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    clock = {"wall": 0.0, "cpu": 0.0}
    monkeypatch.setattr(threads.time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(threads.time, "process_time", lambda: clock["cpu"])
    heard: list[int] = []
    with threads.sharing(lambda step: heard.append(step.done)) as look:
        for done, (wall, cpu) in enumerate([(0.0, 0.0), (0.5, 0.1), (1.5, 6.0), (61.5, 6.1), (63.0, 9.1)]):
            clock.update(wall=wall, cpu=cpu)
            look(Progress("searching", done, 5, "steps", wall))
            if done == 3:
                assert torch.get_num_threads() == 4  # a minute of standing still tells nothing
        assert torch.get_num_threads() == 2  # two of four cores were busy
    assert heard == [0, 1, 2, 3, 4]
    assert torch.get_num_threads() == 4
