"""The maximum-margin statistic of every class (paper, section 5.2, eq. 6)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmbd.base.progress import Progress, ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import elements
from mmbd.search import memory, pool
from mmbd.search.ascent import FAST, PAPER, Ascent
from mmbd.search.exactly import Exactly, unhurried

Method = Literal["fast", "paper"]
METHODS: dict[str, Ascent] = {"fast": FAST, "paper": PAPER}
KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class MaximumMargins:
    """The statistics of all classes, and how each search went.

    Attributes:
        statistics: the maximum margin of every class, in logits, (classes,) float64.
        valid: False for a class of which every search had a zero gradient at its start.
        margins: the best margin of every search, (classes, restarts).
        steps: gradient evaluations of every search, (classes, restarts) int64.
        converged: whether a search stopped before the step limit, (classes, restarts) bool.
        zero_gradient: whether its gradient was zero at the start, (classes, restarts) bool.
        inputs: the maximising input of a class, by class, each of the domain's shape; all
            classes, or those with the largest statistics where all would take too much memory.
        curves: the margins along each class's best search, by class.
        ascent: the settings used.
        evaluations: gradient evaluations (forward and backward passes of one input) in all.
        batch: searches run side by side.
        oom_retries: how often memory ran out and the batch was halved.
        seconds: wall time.
    """

    statistics: Tensor
    valid: Tensor
    margins: Tensor
    steps: Tensor
    converged: Tensor
    zero_gradient: Tensor
    inputs: dict[int, Tensor]
    curves: dict[int, tuple[float, ...]]
    ascent: Ascent
    evaluations: int
    batch: int
    oom_retries: int
    seconds: float


def maximum_margins(
    classifier: Classifier,
    *,
    method: Method = "fast",
    seed: int = 0,
    classes: Sequence[int] | None = None,
    batch: int | None = None,
    memory_limit: int | None = None,
    progress: ProgressCallback | None = None,
    guide: Classifier | None = None,
    **settings: Any,
) -> MaximumMargins:
    """Maximise every class's margin over the input domain from random starts.

    The starting point of a restart derives from (seed, restart) alone: all classes climb from the
    same points, so that a class's statistic depends on neither its number nor its neighbours.

    Args:
        classifier: the model; frozen for the duration.
        method: "fast" (see `ascent.FAST`) or "paper" (`ascent.PAPER`).
        seed: of the random starts.
        classes: only these; the others' statistics are NaN and not valid.
        batch: the most searches at a time; by default as many as `memory_limit` holds.
        memory_limit: bytes for activations; by default a share of what is free.
        progress: called after every step, in gradient evaluations; `total` is what all searches may
            spend at the most. An exception it raises stops the estimation.
        guide: the same network in another precision, which climbs (`search.precision`). The margins are
            those of `classifier` at the best places that were found, and the curves the guide's.
        settings: fields of `Ascent` to override, such as restarts=8.

    Raises:
        NotEvaluable: margins are not finite, or no gradient reaches the input.
        Failed: not even one search fits into memory.
        Astray: the margins are not what the guide took them for.
    """
    start_time = time.perf_counter()
    ascent = ascent_of(method, settings)
    chosen = list(range(classifier.classes)) if classes is None else sorted(set(classes))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < classifier.classes:
        raise ValueError(f"classes must be among 0..{classifier.classes - 1}, got {classes}")

    @cache
    def start(restart: int) -> Tensor:
        return classifier.domain.sample(generator_for("start", seed, restart))

    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    # Whatever gradient mode the caller is in, the search needs its own.
    with classifier.frozen(), torch.inference_mode(False), torch.enable_grad():
        record = _Record(classifier, chosen, ascent, start_time, progress)
        searches = [(label, restart) for label in chosen for restart in range(ascent.restarts)]
        size = batch or memory.batch_size(guide or classifier, memory_limit, most=len(searches))
        size = min(size, len(searches))
        told = None if guide is None else Exactly(classifier, size, record.add)
        stats = pool.run(
            guide or classifier,
            searches,
            ascent if guide is None else unhurried(ascent),
            start,
            batch=size,
            finished=record.add if told is None else told.add,
            progress=record.step,
        )
        if told is not None:
            told.end()
    return record.result(stats)


def ascent_of(method: Method, settings: Mapping[str, Any]) -> Ascent:
    """How a method climbs, with some of its settings overridden.

    Raises:
        ValueError: an unknown method, or settings that make no sense.
        TypeError: a setting that there is not.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    unknown = sorted(set(settings) - {item.name for item in fields(Ascent)})
    if unknown:
        known = ", ".join(item.name for item in fields(Ascent))
        raise TypeError(f"unknown setting {unknown[0]!r}; known: {known}")
    return replace(METHODS[method], **settings) if settings else METHODS[method]


class _Record:
    """Collects finished searches, class by class."""

    def __init__(
        self,
        classifier: Classifier,
        chosen: list[int],
        ascent: Ascent,
        start: float,
        progress: ProgressCallback | None,
    ) -> None:
        shape = (classifier.classes, ascent.restarts)
        # NumPy, where setting one number takes a hundredth of the time that it takes in torch.
        self.margins = np.full(shape, np.nan)
        self.steps = np.zeros(shape, dtype=np.int64)
        self.converged = np.zeros(shape, dtype=np.bool_)
        self.zero_gradient = np.ones(shape, dtype=np.bool_)
        # Of each class's best search: its margin, minus its restart, and its steps.
        self.best: dict[int, tuple[float, int, int]] = {}
        # One block for all curves and one for all inputs: many small ones between a batch's large
        # ones would keep the memory of every batch from being used again.
        self.curves = torch.full((classifier.classes, ascent.steps), torch.nan)
        kept = min(len(chosen), max(1, KEPT_BYTES // (4 * elements(classifier.domain))))
        self.inputs = torch.empty((kept, *classifier.domain.shape))
        self.rows: dict[int, int] = {}
        self.left = dict.fromkeys(chosen, ascent.restarts)
        self.ascent, self.start, self.progress = ascent, start, progress
        self.expected = len(chosen) * ascent.restarts * ascent.steps

    def add(self, search: pool.SearchResult) -> None:
        place = search.label, search.restart
        self.margins[place] = search.margin
        self.steps[place] = search.steps
        self.converged[place] = search.converged
        self.zero_gradient[place] = search.zero_gradient
        self.expected -= self.ascent.steps - search.steps
        self.left[search.label] -= 1
        # The lower restart wins a tie, so that the order of finishing does not matter.
        found = (search.margin, -search.restart, search.steps)
        if search.label not in self.best or found > self.best[search.label]:
            self.best[search.label] = found
            self.curves[search.label, : search.steps] = search.curve
            self.keep(search.label, search.input)

    def keep(self, label: int, found: Tensor) -> None:
        """Keep an input in its class's row, or in place of the least one that is kept."""
        if label not in self.rows and len(self.rows) < len(self.inputs):
            self.rows[label] = len(self.rows)
        elif label not in self.rows:
            least = min(self.rows, key=lambda label: self.best[label][0])
            if self.best[least][0] >= self.best[label][0]:
                return
            self.rows[label] = self.rows.pop(least)
        self.inputs[self.rows[label]] = found

    def step(self, evaluations: int) -> None:
        if self.progress is None:
            return
        done = sum(left == 0 for left in self.left.values())
        self.progress(
            Progress(
                stage="maximum margins",
                done=evaluations,
                total=max(self.expected, evaluations),
                unit="gradient evaluations",
                seconds=time.perf_counter() - self.start,
                note=f"{done} of {len(self.left)} classes",
            )
        )

    def result(self, stats: pool.PoolStats) -> MaximumMargins:
        margins, zero_gradient = torch.from_numpy(self.margins), torch.from_numpy(self.zero_gradient)
        return MaximumMargins(
            statistics=margins.nan_to_num(nan=-torch.inf)
            .amax(1)
            .where(~margins.isnan().all(1), torch.tensor(torch.nan, dtype=torch.float64)),
            valid=~zero_gradient.all(1),
            margins=margins,
            steps=torch.from_numpy(self.steps),
            converged=torch.from_numpy(self.converged),
            zero_gradient=zero_gradient & ~margins.isnan(),
            inputs={label: self.inputs[row] for label, row in sorted(self.rows.items())},
            curves={
                label: tuple(self.curves[label, :steps].tolist())
                for label, (_, _, steps) in sorted(self.best.items())
            },
            ascent=self.ascent,
            evaluations=stats.evaluations,
            batch=stats.batch,
            oom_retries=stats.oom_retries,
            seconds=time.perf_counter() - self.start,
        )
