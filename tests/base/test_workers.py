"""Tasks in other processes: order, failures, deaths, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from mmbd.base.pool import Pool
from mmbd.base.workers import run


def task(value: int) -> int:
    if value == 13:
        raise ValueError("unlucky")
    if value == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    if value == 4:
        os._exit(4)
    if value == 5:
        raise KeyError
    return os.getpid() if value == 0 else value * value


def test_in_this_process_in_order():
    outcomes = list(run(task, [3, 13, 0, 5]))
    assert [(outcome.task, outcome.result, outcome.failure) for outcome in outcomes] == [
        (3, 9, None),
        (13, None, "unlucky"),
        (0, os.getpid(), None),
        (5, None, "KeyError: no message"),
    ]
    with pytest.raises(ValueError, match="0 workers"):
        next(run(task, [1], workers=-1))


def test_side_by_side_through_failures_and_deaths():
    tasks = [1, 13, 9, 2, 4, 3, 0]
    outcomes = {outcome.task: outcome for outcome in run(task, tasks, workers=2)}
    assert set(outcomes) == set(tasks)
    assert [outcomes[value].result for value in (1, 2, 3)] == [1, 4, 9]
    assert outcomes[13].failure == "unlucky"
    assert "Killed: out of memory?" in outcomes[9].failure
    assert "exit code 4" in outcomes[4].failure
    assert outcomes[0].result != os.getpid()


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def linger(file: Path) -> None:
    file.write_text(str(os.getpid()))
    time.sleep(600)


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def gone(process: int) -> bool:
    """Waited for; the time only guards against hanging."""
    deadline = time.monotonic() + 600
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(process)


def test_a_task_over_the_limit_is_a_failure_and_its_process_ends(tmp_path):
    (outcome,) = run(linger, [tmp_path / "process"], workers=1, limit=8)
    assert (outcome.result, outcome.failure) == (None, "took longer than 8 s")
    if (tmp_path / "process").exists():  # not where even the start took that long
        assert not alive(int((tmp_path / "process").read_text()))
    (outcome,) = run(nap, [0.0], workers=1, limit=600)
    assert outcome.failure is None


@pytest.mark.parametrize(("workers", "limit"), [(0, 5), (1, 0), (1, -1)])
def test_a_limit_needs_a_process_to_end(workers, limit):
    with pytest.raises(ValueError, match="expected more than 0, and at least one worker"):
        next(run(nap, [0.0], workers=workers, limit=limit))


def test_closing_ends_the_workers():
    with closing(run(nap, [0.0, 600.0], workers=1)) as outcomes:
        worker = next(outcomes).result
        assert worker is not None
        assert alive(worker)
    assert not alive(worker)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
def test_workers_end_with_a_parent_that_is_killed():
    script = (
        "from mmbd.base.workers import run\n"
        "from test_workers import nap\n"
        "if __name__ == '__main__':\n"
        "    for outcome in run(nap, [0.0, 600.0], workers=1):\n"
        "        print(outcome.result, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate(timeout=600)
    assert gone(worker)


def eats(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


@pytest.mark.skipif(not Path("/proc").exists(), reason="a limit on memory is known on Linux alone")
def test_a_task_has_no_more_memory_than_it_may_take():
    with closing(Pool(eats, 1, memory=200 << 20)) as pool:
        outcomes = []
        for task in (1000, 10):
            pool.submit(task)
            while pool.busy:
                outcomes += pool.wait(600)
    assert [outcome.failure for outcome in outcomes] == ["MemoryError: no message", None]


def test_a_pool_tells_a_task_that_failed_from_one_whose_process_died():
    with closing(Pool(task, 1)) as pool:
        died = {}
        for value in (13, 9, 2):
            pool.submit(value)
            assert (pool.busy, pool.room) == (1, 0)
            while pool.busy:
                died |= {outcome.task: outcome.died for outcome in pool.wait(600)}
    assert died == {13: False, 9: True, 2: False}
    assert pool.wait(0) == []
