"""All that is searched for under one seed: margins, universal perturbations, and what checks them.

What the verdict needs is made here and judged elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.detectors.mm_bd.budget import Budget, Over
from mmbd.detectors.mm_bd.meter import Meter
from mmbd.model import logits
from mmbd.model.classifier import Classifier
from mmbd.null import Marked, Measured
from mmbd.null.combined import ADDED, AWAY, FLOW, HEAD, WINDOW
from mmbd.null.null import UNSEARCHED
from mmbd.null.settings import gains_key, margins_key, marks_key
from mmbd.search import harder
from mmbd.search.harder import Reached
from mmbd.search.head_shares import head_shares
from mmbd.search.marks import Marks, marks, marks_evaluations, paired, shares_to
from mmbd.search.maximum_margins import MaximumMargins, Method, maximum_margins
from mmbd.search.race import Race, ahead, foremost, gains_together, margins_together, unknown
from mmbd.search.recheck import Recheck, recheck
from mmbd.search.universal_data_free import UniversalGains, together, universal_evaluations, universal_gains

# What is searched for beside the margins: gains of universal perturbations, or marks.
Beside = Literal["gains", "marks"] | None


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
        left_out: what there was no time for; None where nothing was left out.
        unsearched_gains: whether that is the universal perturbations alone.
        marks: windows, added changes and flows; None where they were not searched for.
        without_marks: why not, then.
        head: the share of random inputs of the last linear layer that each class wins, (classes,); None
            where that says nothing.
    """

    method: Method
    margins: MaximumMargins
    reached: Reached
    recheck: Recheck
    default: Searched | None = None
    universal: UniversalGains | None = None
    raced: tuple[int, ...] | None = None
    left_out: str | None = None
    unsearched_gains: bool = False
    marks: Marks | None = None
    without_marks: str = UNSEARCHED
    head: tuple[float | None, ...] | None = None

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
    def marked(self) -> Marked | None:
        """The marks that count, by class; None where they were not searched for.

        Classes that only unusual starts reach have none to speak of, as with gains.
        """
        found = self.marks
        if found is None:
            return None
        out = set(self.reached.fixed) | set(self.reached.statistics)
        kept = [label for label in range(len(self.margins.valid)) if label not in out]
        went = found.went
        by_mark = {
            ADDED: found.added.lifts.tolist(),
            WINDOW: found.window_lifts(len(self.margins.valid)).tolist(),
            AWAY: shares_to(went).tolist(),
        }
        if found.flow is not None:
            by_mark[FLOW] = found.flow.shares.tolist()
        if self.head is not None:
            by_mark[HEAD] = [share or 0.0 for share in self.head]
        pairs, in_pairs = paired(went)
        return Marked(
            {
                mark: {label: values[label] for label in kept if math.isfinite(values[label])}
                for mark, values in by_mark.items()
            },
            in_pairs,
            pairs,
            marks_key(found.search),
        )

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
    beside: Beside,
    default_too: bool,
    race: Race | None,
    meter: Meter,
    batch: int | None,
    memory_limit: int | None,
    settings: dict[str, Any],
    budget: Budget | None = None,
) -> Searched:
    """Search for everything that one seed needs; arguments are those of `mm_bd.mm_bd`.

    `beside` the margins, gains of universal perturbations are searched for, or marks. With `default_too`,
    what the shipped tables were made with is searched, too; with `race`, only the classes that lead are
    searched to the end. `meter` is told how far it is. What does not fit into the `budget` is left out.
    """
    limits: dict[str, Any] = {"batch": batch, "memory_limit": memory_limit}
    quick = None if race is None else _quick_look(classifier, race, meter, seed=seed, **limits)
    some = None if budget is None else budget.classes
    if race is not None and quick is not None:
        some = ahead(*quick, race.margins)
    margins = maximum_margins(
        classifier, method=method, seed=seed, progress=meter.margins, classes=some, **limits, **settings
    )
    meter.add(margins)
    if quick is not None:
        margins = margins_together(quick[0], margins)
    checked = recheck(classifier, margins)
    if budget is None or budget.classes is None:
        reached = harder.try_harder(
            classifier,
            margins,
            harder.still_classes(margins, checked.logits),
            seed=seed,
            batch=batch,
            progress=meter.harder,
        )
    else:  # no time for those that are harder to reach
        reached = Reached(unsearched=tuple(label for label in budget.classes if not margins.valid[label]))
    raced = some if race is not None else None
    found = Searched(method, _with(margins, reached), reached, checked, raced=raced)
    if default_too:
        other = search(
            classifier,
            seed=seed,
            method="fast",
            beside=None,
            default_too=False,
            race=None,
            meter=meter,
            settings={},
            **limits,
        )
        found = replace(found, default=other)
    gains, first = None, None
    if race is not None and quick is not None:
        first = foremost(found.margins, quick[1], race.gains)
    if beside == "gains":
        gains = _gains(classifier, margins, first, meter, budget, seed=seed, **limits)
    if beside == "marks":
        found = _with_marks(found, classifier, first, meter, budget, seed=seed, batch=batch)
    if budget is not None:
        left_out = budget.left_out(universal=beside is not None and gains is None and found.marks is None)
        found = replace(found, left_out=left_out, unsearched_gains=left_out is not None and budget.whole)
    if gains is not None:
        meter.add(gains)
        if quick is not None:
            gains = gains_together(quick[1], gains)
        broken = (~(gains.added.isfinite() & gains.sparse.isfinite())).nonzero().flatten().tolist()
        if broken:  # without them a null that sees less would decide
            raise NotEvaluable(f"the margin of class {broken[0]} became NaN or infinite under a perturbation")
        found = replace(found, universal=gains)
    return found


def _with_marks(
    found: Searched,
    classifier: Classifier,
    first: Sequence[int] | None,
    meter: Meter,
    budget: Budget | None,
    *,
    seed: int,
    batch: int | None,
) -> Searched:
    """What was found, with the marks of some classes or all; without where the budget leaves no time."""
    count = classifier.classes if first is None else len(first)
    if budget is not None and not budget.fits(found.margins, marks_evaluations(count)):
        return found

    def told(evaluations: int) -> None:
        meter.marks(evaluations)
        if budget is not None:
            budget.check()

    try:
        with classifier.frozen(), torch.inference_mode(False), torch.enable_grad():
            seen = marks(classifier, seed=seed, classes=first, batch=batch, progress=told)
    except Over:
        return found
    except NotEvaluable as error:
        return replace(found, without_marks=str(error))
    meter.add(seen)
    try:
        head: tuple[float | None, ...] | None = head_shares(classifier, seed=seed)
    except NotEvaluable:
        head = None
    return replace(found, marks=seen, head=head)


def _quick_look(
    classifier: Classifier, race: Race, meter: Meter, **how: Any
) -> tuple[MaximumMargins, UniversalGains]:
    """Little search for all classes, by which it is seen which of them lead."""
    margins = maximum_margins(
        classifier, restarts=race.restarts, steps=race.steps, progress=meter.margins, **how
    )
    meter.add(margins)
    if longer := unknown(margins):
        second = maximum_margins(
            classifier, restarts=race.restarts, classes=longer, progress=meter.margins, **how
        )
        meter.add(second)
        margins = margins_together(margins, second)
    gains = universal_gains(classifier, progress=meter.universal, **how, **asdict(race.universal))
    meter.add(gains)
    return margins, gains


def _gains(
    classifier: Classifier,
    margins: MaximumMargins,
    first: Sequence[int] | None,
    meter: Meter,
    budget: Budget | None,
    **how: Any,
) -> UniversalGains | None:
    """The universal perturbations of some classes, or all; None where they do not fit into the budget."""
    if budget is None:
        return universal_gains(classifier, classes=first, progress=meter.universal, **how)
    count = classifier.classes if first is None else len(first)
    if not budget.fits(margins, universal_evaluations(count)):
        return None

    def told(done: int, evaluations: int) -> None:
        meter.universal(done, evaluations)
        if done < count:
            budget.check()

    try:
        return universal_gains(classifier, classes=first, progress=told, **how)
    except Over:
        return None


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
