"""The pool of any independent searches: each job once, rows refilled, memory that runs out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.search.rows import Rows, keep_full

JOBS = [3, 1, 4, 1.5, 9, 2.5, 5]  # a job takes as many steps as its number says


@dataclass
class Countdowns(Rows):
    """Searches that are done after some steps; all of them add up what they have counted."""

    left: Tensor
    total: Tensor
    job: np.ndarray


class Work:
    """`begin`, `advance` and `finished` of the pool, and what they were called with."""

    def __init__(self, trap=lambda call, rows: None):
        self.trap, self.calls, self.results, self.widths, self.begun = trap, 0, [], [], []

    def begin(self, jobs):
        self.begun.append(list(jobs))
        left = torch.tensor([float(job) for job in jobs])
        return Countdowns(left, torch.zeros(len(jobs)), np.array([float(job) for job in jobs]))

    def advance(self, rows):
        self.calls += 1
        self.widths.append(len(rows))
        rows.total += rows.left
        rows.left -= 1
        self.trap(self.calls, rows)
        return (rows.left <= 0).numpy()

    def finished(self, rows, row):
        self.results.append((float(rows.job[row]), float(rows.total[row])))

    def run(self, batch, jobs=JOBS, **options):
        return keep_full(
            jobs,
            self.begin,
            self.advance,
            batch=batch,
            jobs=lambda rows: rows.job.tolist(),
            finished=self.finished,
            **options,
        )


def expected(job: float) -> tuple[float, float]:
    left, total = job, 0.0
    while left > 0:
        total, left = total + left, left - 1
    return float(job), total


@pytest.mark.parametrize("batch", [1, 2, 3, 6, 7, 50])
def test_every_job_ends_exactly_once_whatever_the_batch(batch):
    work = Work()
    stats = work.run(batch, each=5)
    assert sorted(work.results) == sorted(map(expected, JOBS))
    assert stats.evaluations == 5 * sum(int(np.ceil(job)) for job in JOBS)
    assert (stats.batch, stats.oom_retries) == (batch, 0)


def test_rows_that_end_are_refilled_at_once():
    work = Work()
    work.run(3)
    assert work.begun == [[3, 1, 4], [1.5], [9, 2.5], [5]]
    # Whatever is left runs three at a time until no job waits, then fewer.
    assert work.widths == [3] * 6 + [2] * 3 + [1] * 3


def test_nothing_to_do_begins_nothing():
    work = Work()
    assert work.run(3, jobs=[]).evaluations == 0
    assert work.begun == []


def test_progress_hears_the_evaluations_so_far():
    heard = []
    stats = Work().run(7, progress=heard.append, each=2)
    assert heard[0] == 14
    assert heard == sorted(heard)
    assert heard[-1] == stats.evaluations


# Of the step that fails, and the rows in it: six, six, and the two that take longest.
@pytest.mark.parametrize(("call", "batch"), [(1, 3), (2, 3), (5, 1)])
def test_memory_that_runs_out_halves_the_rows_and_begins_the_searches_again(call, batch):
    def trap(now, rows):
        if now == call:  # total and left have changed already: those rows are of no use
            raise MemoryError

    work = Work(trap)
    stats = work.run(6)
    assert sorted(work.results) == sorted(map(expected, JOBS))
    assert (stats.batch, stats.oom_retries) == (batch, 1)
    assert max(work.widths[call:]) == batch


def test_memory_is_halved_until_the_rows_fit():
    def trap(now, rows):
        if len(rows) > 1:
            raise RuntimeError("CUDA out of memory")

    work = Work(trap)
    assert work.run(7).oom_retries == 2  # 7, 3, 1
    assert sorted(work.results) == sorted(map(expected, JOBS))


def test_memory_that_runs_out_as_searches_begin_loses_none():
    work, begin, calls = Work(), Work.begin, []

    def moody(jobs):
        calls.append(jobs)
        if len(calls) in (1, 4):
            raise MemoryError
        return begin(work, jobs)

    work.begin = moody
    assert work.run(4).oom_retries == 2
    assert sorted(work.results) == sorted(map(expected, JOBS))


def test_no_memory_for_one_search_fails_and_other_errors_are_passed_on():
    def hopeless(now, rows):
        raise MemoryError

    def wrong(now, rows):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(Failed, match="single search"):
        Work(hopeless).run(4)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Work(wrong).run(4)
