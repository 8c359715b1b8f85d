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
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import memory, slopes
from mmbd.search.made_up import margin_slope
from mmbd.search.pool import margins
from mmbd.search.window_places import Windows, windows_of

AWAY = -1  # the aim that is no class
MOMENTUM = 0.5
ENOUGH = 1.5  # an input whose margin has fallen by so many times itself has left, and counts no more


@dataclass(frozen=True)
class Round:
    """A part of a race.

    Args:
        inputs: that each window is tried on.
        steps: of sign ascent.
        size: of the first step, in halves of the range of values; each further one is half as long.
        rows: the share of an aim's windows that goes on to the next round, at least two.
        aims: the share of the classes that goes on, at least `leading`.
    """

    inputs: int
    steps: int
    size: float = 1.0
    rows: float = 0.25
    aims: float = 0.5


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
        logits: (n, classes) of all inputs with the window.
        lift: how much higher than without it the mean margin of the class is, over inputs of other
            classes, in logits; for `AWAY` how much lower that of the inputs' own classes.
    """

    aim: int
    place: int
    values: Tensor
    rounds: int
    logits: Tensor
    lift: float


@dataclass(frozen=True)
class Race:
    """Where a race ended.

    Attributes:
        windows: all positions.
        samples: the inputs, with the classifier's answers without a window.
        found: by aim.
        evaluations: gradient evaluations, one an input.
        passes: forward passes, one an input.
        oom_retries: how often memory ran out.
    """

    windows: Windows
    samples: Samples
    found: dict[int, Found]
    evaluations: int
    passes: int
    oom_retries: int

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
) -> Race:
    """The best window for every aim; results depend on the batch by rounding only.

    Args:
        classifier: frozen by the caller.
        samples: inputs (n, *shape), made up or clean. Their classes are the classifier's own answers.
        aims: classes, or `AWAY` alone.
        seed: of the order of inputs (and, for clouds, of which points are moved).
        side: of a window, see `window_places.windows_of`.
        rounds: by default `TO` for classes, and `OUT` for `AWAY`.
        leading: the classes that go on to the end, at least; the verdict looks at the first ones.
        most: windows that begin. Where there are more pairs of a class and a position, the gradient
            at the inputs themselves says which positions look best for a class.
        batch: the most inputs at a time; by default what the device is quick with.
        progress: called with the gradient evaluations so far.

    Raises:
        ValueError: aims that are none, or both kinds, or a window that does not fit.
        NotEvaluable: no gradient reaches the inputs, answers are not finite, or there is no input of
            another class.
        Failed: memory runs out with a single input.
    """
    known = range(classifier.classes)
    if not aims or (list(aims) != [AWAY] and not all(aim in known for aim in aims)):
        raise ValueError(f"aims must be classes of the model, or AWAY alone, got {list(aims)[:9]}")
    plan = tuple(rounds or (OUT if aims[0] == AWAY else TO))
    windows = windows_of(classifier.domain, side=side, seed=seed).to(classifier.device)
    runner = _Runner(classifier, samples, windows, seed, batch or memory.quick_batch(classifier), progress)
    rows = runner.begun(aims, plan[0], most)
    best: dict[int, tuple[_Rows, int]] = {}
    for number, part in enumerate(plan):
        rows = runner.run(rows, part, first=number == 0)
        best |= {aim: (one, number + 1) for aim, one in rows.leaders().items()}
        if number + 1 < len(plan):
            rows = rows.thinned(part, leading)
    return runner.ended(best)


@dataclass(frozen=True)
class _Rows:
    """Windows in the race, one a row."""

    aims: Tensor
    places: Tensor
    values: Tensor
    velocity: Tensor
    scores: Tensor

    def take(self, rows: Tensor) -> _Rows:
        parts = (self.aims, self.places, self.values, self.velocity, self.scores)
        return _Rows(*(part[rows] for part in parts))

    def of(self, aim: int) -> Tensor:
        """The rows of an aim, the best first; of equals the first position."""
        rows = (self.aims == aim).nonzero()[:, 0]
        return rows[self.scores[rows].argsort(descending=True, stable=True)]

    def leaders(self) -> dict[int, _Rows]:
        """The best row of each aim."""
        return {aim: self.take(self.of(aim)[:1]) for aim in self.aims.unique().tolist()}

    def thinned(self, part: Round, leading: int) -> _Rows:
        """What goes on after a round: the better classes, and of each the better windows."""
        ordered = {aim: self.of(aim) for aim in self.aims.unique().tolist()}
        tops = sorted(ordered, key=lambda aim: (-float(self.scores[ordered[aim][0]]), aim))
        kept = sorted(tops[: max(leading, math.ceil(part.aims * len(tops)))])
        rows = [ordered[aim][: max(2, math.ceil(part.rows * len(ordered[aim])))] for aim in kept]
        return self.take(torch.cat(rows))


class _Runner:
    """The classifier, the inputs in the order in which they are used, and what was spent."""

    def __init__(
        self,
        classifier: Classifier,
        samples: Samples,
        windows: Windows,
        seed: int,
        batch: int,
        progress: Callable[[int], None],
    ) -> None:
        self.classifier, self.windows, self.progress = classifier, windows, progress
        self.samples = replace(samples, labels=samples.logits.argmax(1), own=True)
        self.batch = memory.BatchSize(batch)
        self.order = _in_turn(self.samples.labels.cpu(), seed).to(classifier.device)
        self.own = margins(samples.logits, self.samples.labels)
        self.evaluations = self.passes = 0

    def inputs_of(self, aims: Tensor, count: int) -> Tensor:
        """(rows, count) which inputs each row is tried on: not those of the class that it aims at.

        Where there are fewer, some are there twice.
        """
        labels, chosen = self.samples.labels[self.order], dict[int, Tensor]()
        for aim in aims.unique().tolist():
            others = self.order[labels != aim]
            if not len(others):
                raise NotEvaluable("all inputs are of one class: nothing leads there from another one")
            chosen[aim] = others[torch.arange(count, device=others.device) % len(others)]
        return torch.stack([chosen[aim] for aim in aims.tolist()])

    def begun(self, aims: Sequence[int], part: Round, most: int) -> _Rows:
        """Every aim at every position, or at the most promising ones, after the first sign step.

        That one follows the gradient at the inputs without a window, which all positions share.
        """
        wanted = torch.tensor(aims, device=self.classifier.device)
        which = self.inputs_of(wanted, part.inputs)
        gradient, _ = self.slopes(self.samples.inputs[which.flatten()], wanted, which)
        each = max(2, min(len(self.windows), most // len(aims)))
        found: list[_Rows] = []
        every = torch.arange(len(self.windows), device=self.classifier.device)
        for row, aim in enumerate(aims):
            mean = gradient[row].mean(0, keepdim=True).expand(len(every), *gradient.shape[2:])
            velocity = self.windows.within(mean, every)
            worth = (velocity.abs() * (self.windows.high - self.windows.low)).flatten(1).sum(1)
            best = worth.argsort(descending=True, stable=True)[:each].sort().values
            part_ = _Rows(
                torch.full_like(best, aim), best, self.windows.start[best], _unit(velocity[best]), worth[best]
            )
            found.append(replace(part_, values=self.moved(part_, part.size)))
        return _Rows(
            *(torch.cat([getattr(one, name) for one in found]) for name in _Rows.__dataclass_fields__)
        )

    def run(self, rows: _Rows, part: Round, *, first: bool) -> _Rows:
        """The rows after a round, with their best values and scores on the round's inputs."""
        which = self.inputs_of(rows.aims, part.inputs)
        best, highest, size = rows.values, torch.full_like(rows.scores, -torch.inf), part.size
        for _ in range(0 if first else part.steps):
            gradient, logits = self.window_slopes(rows, which)
            score = self.scores(logits, rows.aims, which)
            best, highest = _better(score > highest, (rows.values, score), (best, highest))
            rows = replace(rows, velocity=MOMENTUM * rows.velocity + _unit(gradient))
            rows = replace(rows, values=self.moved(rows, size))
            size = max(size / 2, 0.125)
        score = self.scores(self.answers(rows, which), rows.aims, which)
        best, highest = _better(score > highest, (rows.values, score), (best, highest))
        return replace(rows, values=best, scores=highest)

    def moved(self, rows: _Rows, size: float) -> Tensor:
        """The values after a sign step."""
        low, high = self.windows.low[rows.places], self.windows.high[rows.places]
        return (rows.values + size * (high - low) / 2 * rows.velocity.sign()).maximum(low).minimum(high)

    def stamped(self, rows: _Rows, which: Tensor, pairs: Tensor) -> Tensor:
        count = which.shape[1]
        row = pairs // count
        return self.windows.stamped(
            self.samples.inputs[which.flatten()[pairs]], rows.places[row], rows.values[row]
        )

    def answers(self, rows: _Rows, which: Tensor) -> Tensor:
        """Logits (rows, inputs, classes) of stamped inputs."""

        def step() -> Tensor:
            parts = torch.arange(which.numel(), device=which.device).split(self.batch.size)
            with torch.no_grad():
                return torch.cat([self.classifier(self.stamped(rows, which, part)) for part in parts])

        logits = self.batch.run(step)
        self.passes += which.numel()
        return logits.view(*which.shape, -1)

    def window_slopes(self, rows: _Rows, which: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes in the windows (rows, channels, size), and logits (rows, inputs, classes)."""

        def step() -> tuple[Tensor, Tensor]:
            logits: list[Tensor] = []
            found: list[Tensor] = []
            for part in torch.arange(which.numel(), device=which.device).split(self.batch.size):
                row = part // which.shape[1]
                x = self.stamped(rows, which, part)
                gradient, some = self.of_aims(x, rows.aims[row], which.flatten()[part])
                logits.append(some)
                found.append(self.windows.within(gradient, rows.places[row]))
            return torch.cat(found), torch.cat(logits)

        slope, logits = self.batch.run(step)
        self.spent(which.numel())
        return slope.unflatten(0, which.shape).mean(1), logits.view(*which.shape, -1)

    def slopes(self, x: Tensor, aims: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes (aims, inputs, *shape) at inputs (aims x inputs, *shape), and logits."""
        each = aims.repeat_interleave(which.shape[1])
        slope, logits = self.batch.run(lambda: self.of_aims(x, each, which.flatten()))
        self.spent(which.numel())
        return slope.unflatten(0, which.shape), logits

    def of_aims(self, x: Tensor, aims: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """The slope (pairs, *shape) of what each pair of an aim and an input climbs, and logits.

        That is the margin of a class; for `AWAY` the fall of the margin of the input's own class, as a
        share of what it was, until the input has left.
        """
        own = self.samples.labels[which]
        labels = torch.where(aims == AWAY, own, aims)
        logits, gradient = slopes.gradients(self.classifier, x, labels, margin_slope, chunk=self.batch.size)
        held = margins(logits, labels) > (1 - ENOUGH) * self.own[which]
        weight = torch.where(aims == AWAY, -held.to(gradient) / self.scale(which), 1.0)
        return gradient * weight.view(-1, *[1] * (gradient.dim() - 1)), logits

    def scale(self, which: Tensor) -> Tensor:
        """The margins of inputs without a window; of those that hardly have one, a share of the usual."""
        return self.own[which].clamp_min(0.25 * float(self.own.median())).clamp_min(1e-12)

    def scores(self, logits: Tensor, aims: Tensor, which: Tensor) -> Tensor:
        """What rows race for, (rows,): the mean of what their pairs climb."""
        away = (aims == AWAY)[:, None]
        labels = torch.where(away, self.samples.labels[which], aims[:, None])
        margin = margins(logits.flatten(0, 1), labels.flatten()).view_as(labels)
        fallen = ((self.own[which] - margin) / self.scale(which)).clamp_max(ENOUGH)
        before = margins(self.samples.logits[which.flatten()], labels.flatten()).view_as(labels)
        return torch.where(away, fallen, margin - before).mean(1)

    def spent(self, evaluations: int) -> None:
        self.evaluations += evaluations
        self.progress(self.evaluations)

    def ended(self, best: dict[int, tuple[_Rows, int]]) -> Race:
        """The best window of each aim, on all inputs."""
        count, found = len(self.samples.labels), dict[int, Found]()
        every = torch.arange(count, device=self.classifier.device)[None]
        for aim, (row, rounds) in sorted(best.items()):
            logits = self.answers(row, every)[0]
            own = self.samples.labels
            labels = own if aim == AWAY else torch.full_like(own, aim)
            change = margins(logits, labels) - margins(self.samples.logits, labels)
            lift = -change.mean() if aim == AWAY else change[own != aim].mean()
            found[aim] = Found(aim, int(row.places[0]), row.values[0], rounds, logits, float(lift))
        return Race(self.windows, self.samples, found, self.evaluations, self.passes, self.batch.oom_retries)


def _in_turn(labels: Tensor, seed: int) -> Tensor:
    """An order (n,) of inputs in which the classes take turns, themselves in random order."""
    count = len(labels)
    order = torch.randperm(count, generator=generator_for("windows", "inputs", seed))
    seen: dict[int, int] = {}
    turn: list[int] = []
    for label in labels[order].tolist():
        turn.append(seen.get(label, 0))
        seen[label] = turn[-1] + 1
    return order[torch.tensor(turn).argsort(stable=True)]


def _unit(slope: Tensor) -> Tensor:
    """Slopes (rows, ...) of mean size one; a zero slope stays zero."""
    size = slope.abs().flatten(1).mean(1).clamp_min(1e-20)
    return slope / size.view(-1, *[1] * (slope.dim() - 1))


def _better(higher: Tensor, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Values and scores, row by row the new ones where they score higher."""
    return torch.where(higher[:, None, None], new[0], old[0]), torch.where(higher, new[1], old[1])
