"""All that is searched for under one seed: margins, universal perturbations, and what checks them.

What the verdict needs is made here and judged elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Literal

import torch

from mmbd.base.errors import NotEvaluable, TooFewInputs
from mmbd.detectors.mm_bd.budget import Budget, Over
from mmbd.detectors.mm_bd.meter import Meter
from mmbd.detectors.mm_bd.on_samples import with_samples
from mmbd.detectors.mm_bd.searched import Searched
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import harder, memory
from mmbd.search.harder import Reached
from mmbd.search.head_shares import head_shares
from mmbd.search.marks import marks, marks_evaluations
from mmbd.search.maximum_margins import MaximumMargins, Method, maximum_margins
from mmbd.search.race import Race, ahead, foremost, gains_together, margins_together, unknown
from mmbd.search.recheck import recheck
from mmbd.search.universal_data_free import UniversalGains, universal_evaluations, universal_gains

# What is searched for beside the margins: gains of universal perturbations, or marks.
Beside = Literal["gains", "marks"] | None


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
    samples: Samples | None = None,
    guide: Classifier | None = None,
) -> Searched:
    """Search for everything that one seed needs; arguments are those of `mm_bd.mm_bd`.

    `beside` the margins, gains of universal perturbations are searched for, or marks. With `default_too`,
    what the shipped tables were made with is searched, too; with `race`, only the classes that lead are
    searched to the end. `meter` is told how far it is. What does not fit into the `budget` is left out. The
    `guide` leads the default searches (`search.precision`).
    """
    limits: dict[str, Any] = {"batch": batch, "memory_limit": memory_limit}
    led: dict[str, Any] = limits | {"guide": guide}
    quick = None if race is None else _quick_look(classifier, race, meter, seed=seed, **led)
    some = None if budget is None else budget.classes
    if race is not None and quick is not None:
        some = ahead(*quick, race.margins)
    margins = maximum_margins(
        classifier, method=method, seed=seed, progress=meter.margins, classes=some, **led, **settings
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
    found = Searched(method, _with(margins, reached), reached, checked, raced=raced, guided=guide is not None)
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
            **led,
        )
        found = replace(found, default=other)
    gains, first = None, None
    if race is not None and quick is not None:
        first = foremost(found.margins, quick[1], race.gains)
    if beside == "marks":
        try:
            found = _with_marks(found, margins, classifier, first, meter, budget, seed=seed, **led)
            found = with_samples(
                found, samples, margins, classifier, first, meter, budget, seed=seed, **limits
            )
        except TooFewInputs as error:  # gains need inputs of one class alone
            found, beside = replace(found, without_marks=str(error)), "gains"
    if beside == "gains":
        gains = _gains(classifier, margins, first, meter, budget, seed=seed, **led)
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
    margins: MaximumMargins,
    classifier: Classifier,
    first: Sequence[int] | None,
    meter: Meter,
    budget: Budget | None,
    *,
    seed: int,
    batch: int | None,
    memory_limit: int | None,
    guide: Classifier | None,
) -> Searched:
    """What was found, with the marks of some classes or all; without where the budget leaves no time."""
    count = classifier.classes if first is None else len(first)
    if budget is not None and not budget.fits(margins, marks_evaluations(count)):
        return found

    def told(evaluations: int) -> None:
        meter.marks(evaluations)
        if budget is not None:
            budget.check()

    head: tuple[float, ...] | None = None
    with suppress(NotEvaluable):  # not every network has such a layer
        head = head_shares(classifier, seed=seed)
    if first is not None and head is not None:  # what leads by this mark is looked at by all
        first = sorted({*first, max(range(len(head)), key=lambda label: head[label])})
    quick = memory.quick_batch(guide or classifier)
    size = batch or memory.batch_size(guide or classifier, memory_limit, most=quick)
    try:
        with classifier.frozen(), torch.inference_mode(False), torch.enable_grad():
            seen = marks(classifier, seed=seed, classes=first, batch=size, progress=told, guide=guide)
    except Over:
        return found
    meter.add(seen)
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
