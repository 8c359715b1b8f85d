"""The window that takes inputs to a class, or away from theirs, raced over positions and classes.

A local trigger is a window (`window_places`) filled so that inputs go elsewhere. Where it sits and which
class it leads to is not known, so a search for it is a race: every pair of an aim and a position begins
with few inputs and one sign step; the better part goes on with more inputs and steps. `AWAY` is an aim as
any class is. Its cost does not depend on the number of classes: a window that takes most inputs out of
their class shows by itself where they go, be it one class or another one for each.

The inputs are made up (`made_up`) or a user's clean samples; their labels are the classifier's own answers.
The numbers of inputs and steps are own choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import memory
from mmbd.search.window_climb import AWAY, Climb, Climbers
from mmbd.search.window_places import Windows, windows_of

__all__ = ["AWAY", "OUT", "TO", "Found", "Race", "Round", "race"]


@dataclass(frozen=True)
class Round:
    """A part of a race.

    Args:
        inputs: that each window is tried on.
        steps: of sign ascent. The first step of all follows a gradient that all windows share.
        size: of the first step, in halves of the range of values; each further one is half as long.
        rows: the share of an aim's windows that goes on to the next round, at least two.
        aims: the share of the classes that goes on, at least the `leading` ones.
    """

    inputs: int
    steps: int
    size: float = 1.0
    rows: float = 0.25
    aims: float = 0.5

    def __post_init__(self) -> None:
        if min(self.inputs, self.steps) < 1 or not (self.size > 0 < self.rows <= 1 and 0 < self.aims <= 1):
            raise ValueError("a round has inputs and steps, steps a size, and shares lie in (0, 1]")


TO: tuple[Round, ...] = (Round(2, 1), Round(4, 1), Round(8, 2), Round(8, 3))
OUT: tuple[Round, ...] = (Round(4, 1), Round(8, 2), Round(20, 3), Round(20, 6))


@dataclass(frozen=True)
class Found:
    """The best window for an aim.

    Attributes:
        aim: a class, or `AWAY`.
        place: its number among the windows.
        values: (channels, size) what it holds.
        rounds: how many it has run; a class that fell behind has run fewer than the leading ones.
        lift: how much higher than without it the mean margin of the class is, over inputs of other
            classes, in logits; a margin counts as at least twice the median (negative) one, so that one
            input cannot decide. For `AWAY` how much lower that of the inputs' own classes is, of each at
            most 1.5 times what it was. Over all inputs for the leading classes, over those of its last
            round for one that fell behind.
        logits: (n, classes) of all inputs with the window; None for a class that fell behind.
    """

    aim: int
    place: int
    values: Tensor
    rounds: int
    lift: float
    logits: Tensor | None


@dataclass(frozen=True)
class Race:
    """Where a race ended.

    Attributes:
        windows: all positions.
        samples: the inputs, with the classifier's answers without a window.
        found: by aim.
        evaluations: gradient evaluations, one an input.
        passes: forward passes without a gradient, one an input.
        oom_retries: how often memory ran out.
    """

    windows: Windows
    samples: Samples
    found: dict[int, Found]
    evaluations: int
    passes: int
    oom_retries: int

    @property
    def leading(self) -> list[int]:
        """The classes that ran all rounds, those of the highest lift first."""
        ended = [one for one in self.found.values() if one.logits is not None]
        return [one.aim for one in sorted(ended, key=lambda one: (-one.lift, one.aim))]

    def stamped(self, aim: int, inputs: Tensor) -> Tensor:
        """Inputs (n, *shape) with the window that was found for an aim."""
        found = self.found[aim]
        which = torch.full((len(inputs),), found.place, device=inputs.device)
        return self.windows.stamped(inputs, which, found.values.expand(len(inputs), -1, -1))


def race(
    classifier: Classifier,
    samples: Samples,
    *,
    aims: Sequence[int],
    seed: int,
    side: int | None = None,
    rounds: Sequence[Round] | None = None,
    leading: int = 4,
    most: int = 4000,
    batch: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
    guide: Classifier | None = None,
) -> Race:
    """The best window for every aim; results depend on the batch by rounding only.

    Args:
        classifier: frozen by the caller.
        samples: inputs (n, *shape), made up or clean. Their classes are the classifier's own answers.
        aims: classes, or `AWAY` alone.
        seed: of the order of inputs (and, for clouds, of which points are moved).
        side: of a window, see `window_places.windows_of`.
        rounds: by default `TO` for classes, and `OUT` for `AWAY`.
        leading: the classes that go on to the end, at least; a verdict looks at the first two.
        most: windows that begin. Where there are more pairs of a class and a position, the gradient
            at the inputs themselves says which positions look best for a class.
        batch: the most inputs at a time; by default what the device is quick with.
        progress: called with the gradient evaluations so far.
        guide: the same network in another precision, which leads (`search.precision`); lifts and logits
            are those of `classifier`.

    Raises:
        ValueError: aims that are none, or both kinds, or a window that does not fit.
        NotEvaluable: there are no inputs, or none of another class; no gradient reaches them, or answers
            are not finite.
        Failed: memory runs out with a single input.
    """
    known = range(classifier.classes)
    if not aims or (list(aims) != [AWAY] and not all(aim in known for aim in aims)):
        raise ValueError(f"aims must be classes of the model, or AWAY alone, got {list(aims)[:9]}")
    if not len(samples.inputs):
        raise NotEvaluable("there is no input to try a window on")
    plan = tuple(rounds or (OUT if aims[0] == AWAY else TO))
    windows = windows_of(classifier.domain, side=side, seed=seed).to(classifier.device)
    size = batch or memory.quick_batch(guide or classifier)
    climb = Climb(classifier, samples, windows, seed, size, progress, guide=guide)
    rows = climb.begun(sorted(set(aims)), inputs=plan[0].inputs, most=most)
    best: dict[int, tuple[Climbers, int]] = {}
    for number, part in enumerate(plan):
        rows = climb.climbed(rows, inputs=part.inputs, steps=part.steps, size=part.size, first=number == 0)
        best |= {aim: (rows.take(places[:1]), number + 1) for aim, places in rows.by_aim().items()}
        if number + 1 < len(plan):
            rows = thinned(rows, part, leading)
    found = {aim: _found(climb, *best[aim], plan) for aim in sorted(best)}
    return Race(windows, climb.samples, found, climb.evaluations, climb.passes, climb.batch.oom_retries)


def thinned(rows: Climbers, part: Round, leading: int) -> Climbers:
    """What goes on after a round: the better classes, and of each the better windows."""
    ordered = rows.by_aim()
    tops = sorted(ordered, key=lambda aim: (-float(rows.scores[ordered[aim][0]]), aim))
    kept = sorted(tops[: max(leading, math.ceil(part.aims * len(tops)))])
    most = {aim: max(2, math.ceil(part.rows * len(ordered[aim]))) for aim in kept}
    return rows.take(torch.cat([ordered[aim][: most[aim]] for aim in kept]))


def _found(climb: Climb, row: Climbers, rounds: int, plan: Sequence[Round]) -> Found:
    """The best window of an aim, and what it does to all inputs if it came to the end."""
    aim, samples, logits = int(row.aims[0]), climb.samples, None
    lift = climb.exact_score(row, inputs=plan[rounds - 1].inputs)
    if rounds == len(plan):
        every = torch.arange(len(samples.labels), device=samples.labels.device)
        logits = climb.answers(row, every[None], exact=True)[0]
        lift = float(climb.lifts(logits, aim).mean())
    return Found(aim, int(row.places[0]), row.values[0], rounds, lift, logits)
