"""All that is searched for under one seed: margins, universal perturbations, and what checks them.

What the verdict needs is made here and judged elsewhere. A limit on time stops a scan as soon as
its first steps show that it would take longer.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.text import seconds as spelled
from mmbd.model import outputs
from mmbd.model.classifier import Classifier
from mmbd.null import Gains, Margins
from mmbd.results.report import made_by
from mmbd.search import harder
from mmbd.search.ascent import FAST
from mmbd.search.harder import Reached
from mmbd.search.maximum_margins import MaximumMargins, Method, Progress, ascent_of, maximum_margins
from mmbd.search.recheck import Recheck, recheck
from mmbd.search.universal_data_free import Search, UniversalGains, together, universal_gains

# Seconds from which on the first steps tell how long the rest will take.
WARM = 1.0
# From which on a first step is no matter of warming up.
COLD = 10.0


@dataclass(frozen=True)
class Searched:
    """What one seed found.

    Attributes:
        seed: of everything random.
        margins: the search for maximum margins that was asked for; its inputs and statistics are
            those of classes that had to be searched harder, too.
        reached: what came of those.
        recheck: the network's answers at the maximising inputs.
        beside: the search that the shipped tables were made with, where `margins` is another.
        universal: the universal perturbations; None where they were not searched for.
    """

    seed: int
    margins: MaximumMargins
    reached: Reached
    recheck: Recheck
    beside: Searched | None = None
    universal: UniversalGains | None = None

    @property
    def statistics(self) -> dict[int, float]:
        """The maximum margins that count, by class."""
        return {
            label: value
            for label, value in enumerate(self.margins.statistics.tolist())
            if self.margins.valid[label] and math.isfinite(value) and label not in self.reached.fixed
        }

    @property
    def tabled(self) -> Margins | None:
        """The margins that shipped tables compare with, where they are of a search of their own."""
        if self.beside is None:
            return None
        return Margins(self.beside.statistics, made_by("fast", asdict(FAST)))

    @property
    def gains(self) -> Gains | None:
        """The universal gains that count; None where nothing was searched for."""
        if self.universal is None:
            return None
        found, fixed = self.universal, set(self.reached.fixed)
        kept = [label for label in range(len(found.added)) if label not in fixed]
        index = torch.tensor(kept, dtype=torch.int64)
        values = together(found.added[index], found.sparse[index]).tolist()
        by_class = {label: gain for label, gain in zip(kept, values, strict=True) if math.isfinite(gain)}
        return Gains(by_class, json.dumps(asdict(found.search), sort_keys=True))

    @property
    def comparable_gains(self) -> Gains | None:
        """The gains of the classes that the usual starts reach.

        The search for universal perturbations does not reach the others either, so that their gains
        would say nothing, and their margins times those less than the margins.
        """
        gains = self.gains
        if gains is None:
            return None
        hard = self.reached.statistics
        kept = {label: gain for label, gain in gains.by_class.items() if label not in hard}
        return replace(gains, by_class=kept)

    @property
    def unsearched(self) -> tuple[int, ...]:
        """Classes that could be a target, for all that was seen."""
        return self.reached.unsearched

    @property
    def no_verdict(self) -> str | None:
        """Why nothing can be said of this network, whatever the statistics are."""
        if self.recheck.drowned is not None:
            return self.recheck.drowned
        looked_at = self.recheck
        stop = outputs.stops(looked_at.logits, looked_at.labels) if len(looked_at.logits) else None
        if stop is None:
            return None
        return (
            f"{stop}, so they are bounded (probabilities, squashed or clipped) and not logits: "
            "leave out what bounds them at the network's end"
        )


def search(
    classifier: Classifier,
    *,
    seed: int,
    method: Method,
    universal: bool,
    beside: bool,
    watch: Watch,
    batch: int | None,
    memory_limit: int | None,
    settings: dict[str, Any],
) -> Searched:
    """Everything for one seed; arguments are those of `scanning.scan`.

    With `beside`, what the shipped tables were made with is searched, too; `watch` is told how far
    it is.
    """
    limits: dict[str, Any] = {"batch": batch, "memory_limit": memory_limit}
    margins = maximum_margins(classifier, method=method, seed=seed, progress=watch.step, **limits, **settings)
    watch.add(margins)
    checked = recheck(classifier, margins)
    reached = harder.try_harder(
        classifier,
        margins,
        harder.still_classes(margins, checked.logits),
        seed=seed,
        batch=batch,
        progress=watch.harder,
    )
    found = Searched(seed, _with(margins, reached), reached, checked)
    if beside:
        other = search(
            classifier,
            seed=seed,
            method="fast",
            universal=False,
            beside=False,
            watch=watch,
            settings={},
            **limits,
        )
        found = replace(found, beside=other)
    if universal:
        gains = universal_gains(classifier, seed=seed, progress=watch.universal, **limits)
        watch.add(gains)
        broken = (~(gains.added.isfinite() & gains.sparse.isfinite())).nonzero().flatten().tolist()
        if broken:  # without them a null that sees less would decide
            raise NotEvaluable(f"the margin of class {broken[0]} became NaN or infinite under a perturbation")
        found = replace(found, universal=gains)
    return found


def _with(margins: MaximumMargins, reached: Reached) -> MaximumMargins:
    """The margins with those of the classes that were reached after all."""
    if not reached.statistics:
        return margins
    statistics, valid = margins.statistics.clone(), margins.valid.clone()
    for label, value in reached.statistics.items():
        statistics[label] = max(value, float(statistics[label]) if valid[label] else -math.inf)
        valid[label] = True
    return replace(
        margins,
        statistics=statistics,
        valid=valid,
        inputs={**margins.inputs, **reached.inputs},
        evaluations=margins.evaluations + reached.evaluations,
    )


class Watch:
    """Tells how far all searches are, and stops those that would take too long.

    Args:
        classifier: what is searched.
        progress: called after every step.
        limit: seconds for all of it; None for no limit.
        seeds: how many times everything is searched.
        method, settings: of the search for margins.
        universal, beside: whether that is searched for, too.
    """

    def __init__(
        self,
        classifier: Classifier,
        progress: Callable[[Progress], None] | None,
        limit: float | None,
        *,
        seeds: int,
        method: Method,
        settings: dict[str, Any],
        universal: bool,
        beside: bool,
    ) -> None:
        ascent = ascent_of(method, settings)
        each = ascent.restarts * ascent.steps + beside * FAST.restarts * FAST.steps
        if universal:
            kinds, one = 2, Search()
            each += one.attempts * one.inputs * (1 + kinds * (one.steps - 1))
        self.classes, self.progress, self.limit = classifier.classes, progress, limit
        self.expected = classifier.classes * seeds * each
        self.searches = classifier.classes * seeds * ascent.restarts
        self.done = self.evaluations = 0
        self.start = time.perf_counter()
        self.first: tuple[float, int] | None = None

    def add(self, part: MaximumMargins | UniversalGains) -> None:
        """A search has ended."""
        self.evaluations += part.evaluations
        if isinstance(part, MaximumMargins):
            ascent = part.ascent
            self.done += part.margins.numel()
            most = self.classes * ascent.restarts * ascent.steps
            self.expected -= max(0, most - part.evaluations)

    def step(self, progress: Progress) -> None:
        """A step of a search for margins."""
        self._tell(progress.evaluations, progress.classes_done, progress.searches_done)

    def universal(self, done: int, evaluations: int) -> None:
        """So many classes have had their universal perturbations."""
        self._tell(evaluations, done, 0)

    def harder(self, evaluations: int) -> None:
        """A step of what no estimate knows before: classes that are searched harder."""
        elapsed = time.perf_counter() - self.start
        if self.limit is not None and elapsed > self.limit:
            raise Failed(
                f"the scan of {self.classes:,} classes has taken {spelled(elapsed)}, as many of "
                f"them have no gradient and are searched harder; the limit is "
                f"{spelled(self.limit)}: raise it with --limit SECONDS (limit= in Python)"
            )

    def _tell(self, evaluations: int, classes_done: int, searches_done: int) -> None:
        now = time.perf_counter()
        spent = self.evaluations + evaluations
        if self.progress is not None:
            self.progress(
                Progress(
                    searches_done=self.done + searches_done,
                    searches=self.searches,
                    classes_done=classes_done,
                    classes=self.classes,
                    evaluations=spent,
                    evaluations_expected=max(self.expected, spent),
                    seconds=now - self.start,
                )
            )
        if self.limit is None:
            return
        elapsed = now - self.start
        if self.first is None:
            self.first = (0.0, 0) if elapsed > COLD else (elapsed, spent)  # the first step warms up
        since, already = self.first
        if spent == already:
            return
        rest = max(self.expected - spent, 0) * (elapsed - since) / (spent - already)
        if elapsed > self.limit or (elapsed > WARM and elapsed + rest > self.limit):
            raise Failed(
                f"the scan of {self.classes:,} classes would take about {spelled(elapsed + rest)} "
                f"({self.expected:,} gradient evaluations), the limit is {spelled(self.limit)}: "
                "raise it with --limit SECONDS (limit= in Python), or let it run on more cores"
            )
