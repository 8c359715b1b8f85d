"""All that is searched for under one seed: margins, universal perturbations, and what checks them.

What the verdict needs is made here and judged elsewhere.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.model import logits
from mmbd.model.classifier import Classifier
from mmbd.null import Measured
from mmbd.null.settings import gains_key, margins_key
from mmbd.search import harder
from mmbd.search.ascent import FAST, Ascent
from mmbd.search.harder import Reached
from mmbd.search.maximum_margins import MaximumMargins, Method, maximum_margins
from mmbd.search.race import Race, ahead, foremost, gains_together, margins_together, unknown
from mmbd.search.recheck import Recheck, recheck
from mmbd.search.universal_data_free import Search, UniversalGains, together, universal_gains


@dataclass(frozen=True)
class Searched:
    """What one seed found.

    Attributes:
        method: of the search that was asked for, "fast" or "paper".
        margins: the search for maximum margins that was asked for; its inputs and statistics are
            those of classes that had to be searched harder, too.
        reached: what came of those.
        recheck: the network's answers at the maximising inputs.
        default: the search that the shipped tables were made with, where `margins` is another.
        universal: the universal perturbations; None where they were not searched for.
        raced: the classes that were searched to the end after a quick look at all; None where all were.
    """

    method: Method
    margins: MaximumMargins
    reached: Reached
    recheck: Recheck
    default: Searched | None = None
    universal: UniversalGains | None = None
    raced: tuple[int, ...] | None = None

    @property
    def statistics(self) -> dict[int, float]:
        """The maximum margins that count, by class."""
        return {
            label: value
            for label, value in enumerate(self.margins.statistics.tolist())
            if self.margins.valid[label] and math.isfinite(value) and label not in self.reached.fixed
        }

    @property
    def measured(self) -> Measured:
        """The maximum margins that count, and their settings."""
        return Measured(self.statistics, margins_key(self.method, asdict(self.margins.ascent)))

    @property
    def default_measured(self) -> Measured | None:
        """The margins that shipped tables compare with, where they are of a search of their own."""
        if self.default is None:
            return None
        return self.default.measured

    @property
    def gains(self) -> Measured | None:
        """The universal-perturbation gains that count; None where nothing was searched for."""
        if self.universal is None:
            return None
        found, fixed = self.universal, set(self.reached.fixed)
        kept = [label for label in range(len(found.added)) if label not in fixed]
        index = torch.tensor(kept, dtype=torch.int64)
        values = together(found.added[index], found.sparse[index]).tolist()
        by_class = {label: gain for label, gain in zip(kept, values, strict=True) if math.isfinite(gain)}
        return Measured(by_class, gains_key(asdict(found.search)))

    @property
    def comparable_gains(self) -> Measured | None:
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
        stop = logits.seem_bounded(looked_at.logits, looked_at.labels) if len(looked_at.logits) else None
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
    default_too: bool,
    race: Race | None,
    meter: Meter,
    batch: int | None,
    memory_limit: int | None,
    settings: dict[str, Any],
) -> Searched:
    """Search for everything that one seed needs; arguments are those of `mm_bd.mm_bd`.

    With `default_too`, what the shipped tables were made with is searched, too; with `race`, only the
    classes that lead are searched to the end, which takes `universal`. `meter` is told how far it is.
    """
    limits: dict[str, Any] = {"batch": batch, "memory_limit": memory_limit}
    margins_of = partial(maximum_margins, classifier, seed=seed, progress=meter.margins, **limits)
    gains_of = partial(universal_gains, classifier, seed=seed, progress=meter.universal, **limits)
    quick, quick_gains, raced = None, None, None
    if race is not None:
        quick = margins_of(restarts=race.restarts, steps=race.steps)
        meter.add(quick)
        if longer := unknown(quick):
            second = margins_of(restarts=race.restarts, classes=longer)
            meter.add(second)
            quick = margins_together(quick, second)
        quick_gains = gains_of(**asdict(race.universal))
        meter.add(quick_gains)
        raced = ahead(quick, quick_gains, race.margins)
    margins = margins_of(method=method, classes=raced, **settings)
    meter.add(margins)
    if quick is not None:
        margins = margins_together(quick, margins)
    checked = recheck(classifier, margins)
    reached = harder.try_harder(
        classifier,
        margins,
        harder.still_classes(margins, checked.logits),
        seed=seed,
        batch=batch,
        progress=meter.harder,
    )
    found = Searched(method, _with(margins, reached), reached, checked, raced=raced)
    if default_too:
        other = search(
            classifier,
            seed=seed,
            method="fast",
            universal=False,
            default_too=False,
            race=None,
            meter=meter,
            settings={},
            **limits,
        )
        found = replace(found, default=other)
    if universal:
        first = None
        if race is not None and quick_gains is not None:
            first = foremost(found.margins, quick_gains, race.gains)
        gains = gains_of(classes=first)
        meter.add(gains)
        if quick_gains is not None:
            gains = gains_together(quick_gains, gains)
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


def _each(search: Search) -> int:
    """The gradient evaluations of a search for universal perturbations, a class."""
    kinds = 2
    return search.attempts * search.inputs * (1 + kinds * (search.steps - 1))


class Meter:
    """Tells how far the searches of one seed are, by gradient evaluations.

    Args:
        classifier: what is searched.
        progress: called after every step.
        ascent: of the search for margins.
        universal, default_too: whether that is searched for, too.
        race: how few classes are searched to the end; None for all.
    """

    def __init__(
        self,
        classifier: Classifier,
        progress: ProgressCallback | None,
        ascent: Ascent,
        *,
        universal: bool,
        default_too: bool,
        race: Race | None,
    ) -> None:
        classes = classifier.classes
        margins, gains = (classes, classes) if race is None else (race.margins, race.gains)
        self.expected = margins * ascent.restarts * ascent.steps
        self.expected += classes * default_too * FAST.restarts * FAST.steps
        if universal:
            self.expected += gains * _each(Search())
        if race is not None:
            self.expected += classes * (race.restarts * race.steps + _each(race.universal))
        self.classes, self.progress = classes, progress
        self.evaluations = 0
        self.start = time.perf_counter()

    def add(self, part: MaximumMargins | UniversalGains) -> None:
        """A search has ended."""
        self.evaluations += part.evaluations
        if isinstance(part, MaximumMargins):
            searched = int((~part.margins.isnan().all(1)).sum())
            most = searched * part.ascent.restarts * part.ascent.steps
            self.expected -= max(0, most - part.evaluations)

    def margins(self, step: Progress) -> None:
        """A step of a search for margins."""
        self._tell(step.stage, step.done, step.note)

    def universal(self, classes_done: int, evaluations: int) -> None:
        """So many classes have had their universal perturbations."""
        self._tell("universal perturbations", evaluations, f"{classes_done} of {self.classes} classes")

    def harder(self, evaluations: int) -> None:
        """A step of what no estimate knows before: classes that are searched harder."""
        self._tell("classes without a gradient", evaluations, "")

    def _tell(self, stage: str, evaluations: int, note: str) -> None:
        if self.progress is None:
            return
        done, seconds = self.evaluations + evaluations, time.perf_counter() - self.start
        total = max(self.expected, done)
        self.progress(Progress(stage, done, total, "gradient evaluations", seconds, note))
