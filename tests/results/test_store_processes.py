"""The store of results with several processes at once: nothing finished is lost, nothing is corrupted."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from mmbd.results.store import Key, Store

MINUTES = 300.0  # guards against hanging
WRITER = """
import sys
from mmbd.results.store import Key, Store
path, name, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store(path)
print("ready", flush=True)
for number in range(count):
    said = store.put(Key(name, "", "writer", 1, seed=number), str(number), bytes(size))
    print(said or number, flush=True)
"""


def start(path, name: str, count: int, size: int, **options) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def output(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=MINUTES)[0].splitlines()


def whole(path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_several_processes_write_at_once_and_nothing_is_lost(tmp_path, damaged):
    path = tmp_path / "results.sqlite"
    if damaged:  # all of them notice it; one keeps it aside
        path.write_bytes(b"damage" * 5000)
    writers = [start(path, name, 30, 20_000) for name in "abc"]
    said = [output(writer) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    store = Store(path)
    for name in "abc":
        for number in range(30):
            assert store.get(Key(name, "", "writer", 1, seed=number)).value == str(number)
    assert whole(path)
    told = [line for lines in said for line in lines if "damaged" in line]
    assert len(told) == damaged
    assert len(list(tmp_path.glob("*.damaged-*"))) == damaged


def test_a_process_killed_while_writing_loses_nothing_finished(tmp_path):
    path = tmp_path / "results.sqlite"
    for attempt in range(3):
        writer = start(path, f"killed-{attempt}", 10_000, 3_000_000)
        assert writer.stdout.readline() == "ready\n"
        done = [writer.stdout.readline().strip() for _ in range(2 + attempt)]
        time.sleep(0.003 * attempt)  # somewhere in the middle of the next
        os.kill(writer.pid, signal.SIGKILL)
        done += output(writer)
        assert writer.returncode == -signal.SIGKILL
        store = Store(path)
        for number in done:
            assert store.get(Key(f"killed-{attempt}", "", "writer", 1, seed=int(number))).value == number
        assert store.put(Key("after", "", "writer", 1, seed=attempt), "1") is None
    assert whole(path)
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_full_disk_costs_the_stored_result_alone(tmp_path):
    """A limit on the size of files stands for the disk: the write fails in the same place."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    path = tmp_path / "results.sqlite"
    writer = start(path, "full", 5, 40_000, preexec_fn=limited)
    said = output(writer)
    assert writer.returncode == 0
    assert said[1:3] == ["0", "1"]
    assert all("could not be kept" in line for line in said[3:])
    assert len(Store(path).keys()) == 2
    assert whole(path)
