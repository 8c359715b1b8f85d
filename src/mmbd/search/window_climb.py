"""Windows that climb side by side: where their aims lie, and sign steps towards these.

A row is a window with an aim: a class whose margin rises, or `AWAY`, where the margin of an input's own
class falls. Rows do not interact; all go through the network together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import memory, slopes
from mmbd.search.climbers import AWAY, Climbers
from mmbd.search.pool import margins
from mmbd.search.window_places import Windows

MOMENTUM = 0.5  # the share of the earlier directions that a step keeps
ENOUGH = 1.5  # an input whose margin has fallen by so many times itself has left, and counts no more
SOFTNESS = 0.25  # of the choice among other classes, as a share of the usual margin
LEAST_SIZE = 0.125  # of a step
# A margin counts as at least this share of the usual one where it is divided by.
LEAST_MARGIN = 0.25


class Climb:
    """The classifier, the inputs in the order in which they are used, and what was spent.

    Args:
        classifier: frozen by the caller.
        samples: the inputs; their classes are the classifier's own answers.
        windows: all positions, on the classifier's device.
        seed: of the order of the inputs.
        batch: the most inputs at a time.
        progress: called with the gradient evaluations so far.
        guide: the same network in another precision, which climbs.

    Attributes:
        evaluations: gradient evaluations, one an input.
        passes: forward passes without a gradient, one an input.
    """

    def __init__(
        self,
        classifier: Classifier,
        samples: Samples,
        windows: Windows,
        seed: int,
        batch: int,
        progress: Callable[[int], None],
        guide: Classifier | None = None,
    ) -> None:
        self.guide = guide or classifier
        self.classifier, self.windows, self.progress = classifier, windows, progress
        self.samples = replace(samples, labels=samples.logits.argmax(1), own=True)
        self.batch = memory.BatchSize(batch)
        self.order = in_turn(self.samples.labels.cpu(), seed).to(classifier.device)
        self.own = margins(samples.logits, self.samples.labels)
        self.scale = self.own.clamp_min(LEAST_MARGIN * float(self.own.median())).clamp_min(1e-12)
        self.softness = (SOFTNESS * self.own.median()).clamp_min(1e-12)
        self.least = _least(samples.logits, self.samples.labels)
        self.evaluations = self.passes = 0

    def inputs_of(self, aims: Tensor, count: int) -> Tensor:
        """(rows, count) which inputs each row is tried on: not those of the class that it aims at.

        Where there are fewer, some are there twice.

        Raises:
            NotEvaluable: all inputs are of that class.
        """
        labels, chosen = self.samples.labels[self.order], dict[int, Tensor]()
        for aim in aims.unique().tolist():
            others = self.order[labels != aim]
            if not len(others):
                raise NotEvaluable("all inputs are of one class: nothing leads there from another one")
            chosen[aim] = others[torch.arange(count, device=others.device) % len(others)]
        return torch.stack([chosen[aim] for aim in aims.tolist()])

    def begun(self, aims: Sequence[int], *, inputs: int, most: int) -> Climbers:
        """Every aim in every window, or in the most promising ones, about to take a first step.

        That step follows the gradient at the inputs without a window, which all windows share; it also
        says which of them look best for a class where there are more than `most` rows.
        """
        wanted = torch.tensor(aims, device=self.classifier.device)
        each = max(2, min(len(self.windows), most // len(aims)))
        found: list[Climbers] = []
        for some in wanted.split(max(1, self.batch.size // inputs)):
            which = self.inputs_of(some, inputs)
            x = self.samples.inputs[which.flatten()]
            slope, _ = self.batch.run(lambda x=x, some=some, which=which: self.slopes(x, some, which))
            self._spent(which.numel())
            means = slope.unflatten(0, which.shape).mean(1)
            found += [self._first(aim, mean, each) for aim, mean in zip(some, means, strict=True)]
        return Climbers.joined(found)

    def _first(self, aim: Tensor, slope: Tensor, count: int) -> Climbers:
        windows = self.windows
        velocity = slope.reshape(windows.channels, -1)[:, windows.index].movedim(1, 0)
        worth = (velocity.abs() * (windows.high - windows.low)).flatten(1).sum(1)
        best = worth.argsort(descending=True, stable=True)[:count].sort().values
        places = aim.expand(len(best))
        return Climbers(places, best, windows.start[best], unit(velocity[best]), worth[best])

    def climbed(
        self, rows: Climbers, *, inputs: int, steps: int, size: float, first: bool = False
    ) -> Climbers:
        """The rows after some steps, each half as long as the last, with their best values.

        Scores are those on these inputs. The first step of all goes where `begun` said.
        """
        which = self.inputs_of(rows.aims, inputs)
        best, highest = rows.values, torch.full_like(rows.scores, -torch.inf)
        for step in range(steps):
            if first and step == 0:
                logits = self._at_start(rows, which)
            else:
                slope, logits = self._window_slopes(rows, which)
                rows = replace(rows, velocity=MOMENTUM * rows.velocity + unit(slope))
            score = self.scored(logits, rows.aims, which)
            best, highest = _better(score > highest, (rows.values, score), (best, highest))
            rows = replace(rows, values=self._moved(rows, size))
            size = max(size / 2, LEAST_SIZE)
        score = self.scored(self.answers(rows, which), rows.aims, which)
        best, highest = _better(score > highest, (rows.values, score), (best, highest))
        return replace(rows, values=best, scores=highest)

    def _moved(self, rows: Climbers, size: float) -> Tensor:
        """The values after a sign step of `size` halves of their range."""
        low, high = self.windows.low[rows.places], self.windows.high[rows.places]
        return (rows.values + size * (high - low) / 2 * rows.velocity.sign()).maximum(low).minimum(high)

    def answers(self, rows: Climbers, which: Tensor, *, exact: bool = False) -> Tensor:
        """Logits (rows, inputs, classes) of the inputs at `which` (rows, inputs) with the windows.

        They are the guide's, or, where they are to be `exact`, the classifier's own.
        """
        asked = self.classifier if exact else self.guide

        def step() -> Tensor:
            parts = torch.arange(which.numel(), device=which.device).split(self.batch.size)
            with torch.no_grad():
                return torch.cat([asked(self._stamped(rows, which, part)) for part in parts])

        logits = self.batch.run(step)
        self.passes += which.numel()
        return logits.view(*which.shape, -1)

    def _at_start(self, rows: Climbers, which: Tensor) -> Tensor:
        """`answers` of rows that hold what they began with: those of all aims share a place's windows."""
        count = len(self.samples.labels)
        pairs, back = (rows.places[:, None] * count + which).unique(return_inverse=True)
        each = torch.arange(len(which), device=which.device)[:, None].expand_as(which)
        one = torch.zeros_like(pairs).scatter_(0, back.flatten(), each.flatten())  # a row of each pair
        return self.answers(rows.take(one), (pairs % count)[:, None])[:, 0][back]

    def _stamped(self, rows: Climbers, which: Tensor, pairs: Tensor) -> Tensor:
        row = pairs // which.shape[1]
        inputs = self.samples.inputs[which.flatten()[pairs]]
        return self.windows.stamped(inputs, rows.places[row], rows.values[row])

    def _window_slopes(self, rows: Climbers, which: Tensor) -> tuple[Tensor, Tensor]:
        """Mean slopes in the windows (rows, channels, size), and logits (rows, inputs, classes)."""

        def step() -> tuple[Tensor, Tensor]:
            logits: list[Tensor] = []
            found: list[Tensor] = []
            for part in torch.arange(which.numel(), device=which.device).split(self.batch.size):
                row = part // which.shape[1]
                x = self._stamped(rows, which, part)
                slope, some = self.slopes(x, rows.aims[row], which.flatten()[part][:, None])
                logits.append(some)
                found.append(self.windows.within(slope, rows.places[row]))
            return torch.cat(found), torch.cat(logits)

        slope, logits = self.batch.run(step)
        self._spent(which.numel())
        return slope.unflatten(0, which.shape).mean(1), logits.view(*which.shape, -1)

    def slopes(self, x: Tensor, aims: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes (pairs, *shape) at inputs (pairs, *shape) of what they climb, and logits.

        That is the margin of a class; for `AWAY` the fall of the margin of the input's own class, as a
        share of what it was, until the input has left. `which` (rows, inputs) says which inputs they were.
        """
        aims, which = aims.repeat_interleave(which.shape[1]), which.flatten()
        labels = torch.where(aims == AWAY, self.samples.labels[which], aims)
        rule = self._own_slope if bool((aims == AWAY).all()) else slopes.margin
        logits, slope = slopes.gradients(self.guide, x, labels, rule, chunk=self.batch.size)
        staying = margins(logits, labels) > (1 - ENOUGH) * self.own[which]
        weight = torch.where(aims == AWAY, -staying.to(slope) / self.scale[which], 1.0)
        return slope * weight.view(-1, *[1] * (slope.dim() - 1)), logits

    def _own_slope(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The slope of the margin of own classes over all others together.

        Where an input will go is not known at first, and need not be the class that is next now.
        """
        others = logits.scatter(1, labels[:, None], -torch.inf) / self.softness
        return (-others.softmax(1)).scatter_(1, labels[:, None], 1.0)

    def scored(self, logits: Tensor, aims: Tensor, which: Tensor) -> Tensor:
        """The mean (rows,) of what pairs (rows, inputs) with these logits have climbed."""
        return torch.where((aims == AWAY)[:, None], *self._climbed(logits, aims, which)).mean(1)

    def exact_score(self, row: Climbers, *, inputs: int) -> float:
        """The score of one row on so many inputs, as the classifier itself sees it."""
        if self.guide is self.classifier:
            return float(row.scores[0])
        which = self.inputs_of(row.aims, inputs)
        return float(self.scored(self.answers(row, which, exact=True), row.aims, which)[0])

    def lifts(self, logits: Tensor, aim: int) -> Tensor:
        """How much all inputs with these logits (n, classes) have climbed towards an aim, in logits.

        Inputs of the aimed-at class are left out.
        """
        every = torch.arange(len(logits), device=logits.device)
        aims = torch.tensor([aim], device=logits.device)
        fallen, risen = self._climbed(logits[None], aims, every[None])
        return fallen[0] * self.scale if aim == AWAY else risen[0][self.samples.labels != aim]

    def _climbed(self, logits: Tensor, aims: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """How far own margins have fallen, as a share, and how much those of the aims have risen.

        An input that is very far from a class counts as one that is twice as far as the usual one: some
        hold a trigger, and to take it away is not to lead them to a class.
        """
        labels = torch.where((aims == AWAY)[:, None], self.samples.labels[which], aims[:, None])
        after = margins(logits.flatten(0, 1), labels.flatten()).view_as(labels)
        before = margins(self.samples.logits[which.flatten()], labels.flatten()).view_as(labels)
        fallen = ((before - after) / self.scale[which]).clamp_max(ENOUGH)
        least = self.least[labels]
        return fallen, after.maximum(least) - before.maximum(least)

    def _spent(self, evaluations: int) -> None:
        self.evaluations += evaluations
        self.progress(self.evaluations)


def _least(logits: Tensor, labels: Tensor) -> Tensor:
    """(classes,) twice the median margin of each class over inputs of other ones."""
    first = logits.max(1, keepdim=True)
    rivals = first.values.expand_as(logits).clone()  # of every class but the first one
    rivals.scatter_(1, first.indices, logits.topk(2).values[:, 1:])
    every = torch.arange(logits.shape[1], device=logits.device)
    others = every[None] != labels[:, None]
    return 2 * (logits - rivals).where(others, torch.nan).nanmedian(0).values


def in_turn(labels: Tensor, seed: int) -> Tensor:
    """An order (n,) of inputs in which their classes take turns, those of a class in random order."""
    order = torch.randperm(len(labels), generator=generator_for("windows", "inputs", seed))
    seen: dict[int, int] = {}
    turns: list[int] = []
    for label in labels[order].tolist():
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    return order[torch.tensor(turns).argsort(stable=True)]


def unit(slope: Tensor) -> Tensor:
    """Slopes (rows, ...) of mean size one; a zero slope stays zero."""
    size = slope.abs().flatten(1).mean(1).clamp_min(1e-20)
    return slope / size.view(-1, *[1] * (slope.dim() - 1))


def _better(higher: Tensor, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Values and scores, row by row the new ones where they score higher."""
    return torch.where(higher[:, None, None], new[0], old[0]), torch.where(higher, new[1], old[1])
