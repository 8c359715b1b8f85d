"""Faults that a fleet survives: nothing that was kept is lost, and nothing is made twice.

`benchmarks/faults.py` does the same to real processes at random moments, hundreds of times.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from datetime import UTC, datetime

import pytest

from helpers.toy_fleets import Here, models, ran, reads, write
from mmbd.base.errors import Failed
from mmbd.base.pool import Outcome
from mmbd.results import claims, kept
from mmbd.results.fleet import Fleet
from mmbd.results.store import Store
from mmbd.workflows.fleet import digests, work
from mmbd.workflows.fleet.asked import Task
from mmbd.workflows.fleet.work import CHANGED, Work


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results.sqlite")


def sound(store: Store) -> bool:
    with sqlite3.connect(store.path) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Dying(Here):
    """An engine whose workers die of some models, or of their first try."""

    def wait(self, seconds=None):
        if self.waiting and (word := self.waiting[0].entry.path.read_text()).startswith(("dies", "once")):
            task = self.waiting.popleft()
            self.made.append(task.entry.name)
            if word.startswith("once"):
                write(task.entry.path.with_suffix(".died"), "")
                if self.made.count(task.entry.name) > 1:
                    return [Outcome(task, work.done(task.entry, task.key, *good(task), 0.1))]
            return [Outcome(task, None, "the process that ran it died (Killed)", died=True)]
        return super().wait(seconds)


def good(task: Task):
    from helpers.toy_fleets import report

    found = report(task.entry.path, "clean")
    return found, found.exit_code


def test_a_worker_that_dies_costs_its_model_one_more_try(tmp_path, store):
    entries = models(tmp_path / "fleet", "clean a", "dies", "once", "clean b")
    run, made = ran(entries, store, Dying())
    assert Counter(made) == {f"m{n}.safetensors": 2 if n in (1, 2) else 1 for n in range(4)}
    assert [row.word for row in run.rows] == ["clean", "failed", "clean", "clean"]
    assert "died (Killed), 2 times" in run.rows[1].reason
    assert (run.code, run.trouble, sound(store)) == (2, "", True)
    assert ran(entries, store, Dying())[1] == []


def test_a_worker_that_dies_as_the_fleet_is_stopped_says_nothing_of_its_model(tmp_path, store):
    engine = Dying()
    entries = models(tmp_path / "fleet", "dies", "clean a")
    run, _ = ran(entries, store, engine, stop=lambda: bool(engine.made))
    assert (run.rows, run.left) == ((), 2)
    assert not store.values(claims.METHOD, claims.VERSION)


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_driver_that_is_killed_at_any_write_loses_and_doubles_nothing(tmp_path, monkeypatch):
    """Killed before its n-th write, for every n there is: some are claims, some reports, some rows."""
    entries = models(tmp_path / "fleet", "clean a", "backdoored", "clean b")
    writes = 0
    while True:
        writes += 1
        store = Store(tmp_path / f"{writes}.sqlite")
        if not (child := os.fork()):
            try:
                _killed_at(writes)
                ran(entries, store)
            finally:
                os._exit(0)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        before = {row.name for row in Fleet.read(store).latest}
        run, made = ran(entries, store)
        assert not before & set(made), "a finished result was made again"
        assert before | set(made) == {entry.name for entry in entries}
        assert [row.word for row in run.rows] == ["clean", "backdoored", "clean"]
        assert {len(rows) for rows in Fleet.read(store).history.values()} == {1}
        assert sound(store)
        assert not store.values(claims.METHOD, claims.VERSION)
        if not killed:
            break
    assert writes == 10  # a claim, a report and a row of each model, and one more that never came


def _killed_at(number: int) -> None:
    put, count = kept.Held.put, Counter()

    def counted(self, *values, **more):
        count["puts"] += 1
        if count["puts"] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, *values, **more)

    kept.Held.put = counted


def test_a_full_disk_stops_the_fleet_and_spoils_nothing(tmp_path, store, monkeypatch):
    entries = models(tmp_path / "fleet", *(f"clean {number}" for number in range(5)))
    put, count = kept.Held.put, Counter()

    def full(self, *values, **more):
        count["puts"] += 1
        if count["puts"] > 7:
            raise sqlite3.OperationalError("database or disk is full")
        put(self, *values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(kept.Held, "put", full)
        run, made = ran(entries, store)
    assert "database or disk is full" in run.trouble
    assert "what was kept before is whole" in run.trouble
    assert (run.code, len(run.rows), sound(store)) == (2, 2, True)
    assert len(made) == 3
    run, made = ran(entries, store)
    assert (len(made), len(run.rows), run.trouble) == (3, 5, "")


def test_a_store_that_cannot_be_written_is_told_before_anything_is_scanned(tmp_path):
    entries, engine = models(tmp_path / "fleet", "clean a"), Here()
    with pytest.raises(Failed, match="cannot be written"):
        ran(entries, Store(tmp_path / "none" / "results.sqlite"), engine)
    (tmp_path / "other.sqlite").write_text("something else " * 1000)
    with pytest.raises(Failed, match=r"other\.sqlite"):
        ran(entries, Store(tmp_path / "other.sqlite"), engine)
    assert engine.made == []
    assert (tmp_path / "other.sqlite").read_text() == "something else " * 1000


@pytest.mark.parametrize(("times", "word"), [(1, "clean"), (9, "failed")])
def test_a_file_that_changes_while_it_is_scanned_has_no_result_of_other_bytes(
    tmp_path, store, monkeypatch, times, word
):
    (entry,) = models(tmp_path / "fleet", "clean 0")
    scans = []

    def scanned(self, entry):
        digest = digests.Digests().model(entry.path)
        scans.append(digest)
        if len(scans) <= times:
            write(entry.path, f"clean {len(scans)}")
        from helpers.toy_fleets import report

        found = report(entry.path, "clean", sha256=digest)
        return found, found.exit_code

    monkeypatch.setattr(Work, "_scanned", scanned)
    run, _ = ran([entry], store, Here(Work(sandboxed=False)))
    assert (run.rows[0].word, len(scans)) == (word, 2)
    known = [key.model for key, _ in store.items() if key.method == "mm-bd-bootstrap"]
    if word == "clean":
        assert known == [run.rows[0].sha256] == [digests.Digests().model(entry.path)]
        assert ran([entry], store, Here(Work(sandboxed=False)))[1] == []
    else:
        assert (known, run.rows[0].reason, run.rows[0].report) == ([], CHANGED, False)
        assert ran([entry], store, Here(reads))[1] == ["m0.safetensors"]  # the next run scans it again


def test_a_clock_that_jumps_changes_no_order_and_no_digest(tmp_path, store, monkeypatch):
    (entry,) = models(tmp_path / "fleet", "clean a")
    ran([entry], store)
    for year, words in ((1999, "backdoored"), (2050, "clean b"), (2001, "backdoored b")):

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None, year=year):
                return datetime(year, 1, 1, tzinfo=UTC)

        monkeypatch.setattr(work, "datetime", Clock)
        monkeypatch.setattr(digests.time, "time", lambda: Clock.now().timestamp())
        write(entry.path, words)
        assert ran([entry], store)[1] == ["m0.safetensors"]
        assert ran([entry], store)[1] == []
    history = Fleet.read(store).history["m0.safetensors"]
    assert [row.word for row in history] == ["clean", "backdoored", "clean", "backdoored"]
    assert [row.finished[:4] for row in history[1:]] == ["1999", "2050", "2001"]
