"""Classes that the usual searches could not reach: other starts, and the way through dead units.

A class whose margin has no gradient at any random start has not been searched; that it seems clean
says nothing. So bright, dark and smooth starts are tried first, and then starts to which gradients
lead that pass through units which are off, as the network itself has none there. A class that
cannot be moved even so is no class of the network's training, and is left out; one that can, but
was not reached, stays unsearched. A few classes that never won are tried in the same way: a slight
slope of a logit must not keep what lies behind dead units from being looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import smooth
from mmbd.search import pool
from mmbd.search.leaky import Leaky
from mmbd.search.maximum_margins import MaximumMargins

# Starts tried for a class: all bright, all dark, smooth ones, and more random ones.
SMOOTH, RANDOM = 4, 4
# Through dead units: starts a class, steps a start, and a step's size in extents.
WALKS, STEPS, SIZE = 4, 40, 0.1
# Classes of a kind for which that is tried; a network with more of them is hardly a classifier.
MOST_WALKED = 64
# A logit that ranges over less than this share of the widest range has not moved.
STILL = 1e-5


@dataclass(frozen=True)
class Reached:
    """What came of the classes that were tried harder.

    Attributes:
        statistics: the maximum margins of those that could be searched after all, by class.
        inputs: where, by class.
        fixed: classes that no input moves.
        unsearched: classes that could be moved, but were not reached.
        evaluations: gradient evaluations spent.
    """

    statistics: dict[int, float] = field(default_factory=dict[int, float])
    inputs: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    fixed: tuple[int, ...] = ()
    unsearched: tuple[int, ...] = ()
    evaluations: int = 0


def try_harder(
    classifier: Classifier,
    found: MaximumMargins,
    still: Sequence[int],
    *,
    seed: int,
    batch: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> Reached:
    """Search again for the classes that had no gradient, and for those that are still.

    Args:
        classifier: the model.
        found: what the usual searches found.
        still: classes that never won, and whose logit was the same wherever it was looked at.
        seed: of the starts.
        batch: the most searches at a time.
        progress: called with the gradient evaluations so far; what it raises stops the search.
    """
    dead = [label for label, valid in enumerate(found.valid.tolist()) if not valid]
    wanted = sorted({*dead, *still})
    losers = _losers(found, wanted)
    if not wanted and not losers:
        return Reached()
    with classifier.frozen(), torch.inference_mode(False), torch.enable_grad():
        work = _Work(classifier, found, batch, progress)
        work.search(wanted, _starts(classifier, seed))
        won = {label for label, (margin, _) in work.best.items() if margin > 0}
        left = [label for label in wanted if label not in won]
        fixed = [label for label in left if not work.movable(label, seed, own=label in still)]
        lost = [label for label in left if label not in fixed]
        work.reached -= set(still)
        for label in [label for label in lost if label not in work.reached][:MOST_WALKED]:
            walked = [work.walk(label, seed, walk, own=label in still) for walk in range(WALKS)]
            work.search([label], [start for start in walked if start is not None])
        for label in losers:
            work.search([label], [work.climb(label, seed, walk) for walk in range(WALKS)])
    # What tables of clean networks hold was found by the usual searches alone: that of a class that
    # never won is replaced only where it turns out to be ahead of all.
    highest = float(found.statistics[found.valid].max()) if bool(found.valid.any()) else 0.0
    kept = {
        label: best
        for label, best in work.best.items()
        if label not in fixed and (label in wanted or best[0] > highest)
    }
    return Reached(
        statistics={label: margin for label, (margin, _) in kept.items()},
        inputs={label: place for label, (_, place) in kept.items()},
        fixed=tuple(fixed),
        unsearched=tuple(label for label in lost if label not in work.reached),
        evaluations=work.evaluations,
    )


def still_classes(found: MaximumMargins, logits: Tensor) -> list[int]:
    """The classes that never won and whose logits (inputs, classes) are the same everywhere."""
    if len(logits) < 2:
        return []
    ranges = logits.amax(0) - logits.amin(0)
    still = ranges <= STILL * ranges.max()
    return [
        label
        for label, value in enumerate(found.statistics.tolist())
        if bool(still[label]) and bool(found.valid[label]) and value <= 0
    ]


def _losers(found: MaximumMargins, wanted: Sequence[int]) -> list[int]:
    """Classes that were searched and never won, where they are few: half of them are a verdict."""
    losers = [
        label
        for label, value in enumerate(found.statistics.tolist())
        if bool(found.valid[label]) and value <= 0 and label not in wanted
    ]
    return losers[:MOST_WALKED] if 2 * len(losers) < len(found.valid) else []


def _starts(classifier: Classifier, seed: int) -> list[Tensor]:
    domain = classifier.domain
    low, high = domain.bounds or (-1.0, 1.0)
    ends = [torch.full(domain.shape, value) for value in (high, low)]
    return [
        *(domain.project_(end[None])[0] for end in ends),
        *(smooth(domain, generator_for("harder smooth", seed, i)) for i in range(SMOOTH)),
        *(domain.sample(generator_for("harder", seed, i)) for i in range(RANDOM)),
    ]


class _Work:
    """The best live search of every class so far, and what was spent."""

    def __init__(
        self,
        classifier: Classifier,
        found: MaximumMargins,
        batch: int | None,
        progress: Callable[[int], None],
    ) -> None:
        self.progress = progress
        self.classifier, self.ascent = classifier, found.ascent
        self.batch = min(found.batch, batch or found.batch)
        network = classifier.model
        # What a script does inside is not seen.
        self.script = isinstance(network, nn.Module) and any(
            isinstance(module, torch.jit.ScriptModule) for module in network.modules()
        )
        self.best: dict[int, tuple[float, Tensor]] = {}
        self.reached: set[int] = set()
        self.evaluations = 0

    def search(self, labels: Sequence[int], starts: Sequence[Tensor]) -> None:
        """Search for each class from each start, and keep the best of them."""
        searches = [(label, start) for label in labels for start in range(len(starts))]
        if not searches:
            return
        stats = pool.run(
            self.classifier,
            searches,
            self.ascent,
            lambda start: starts[start],
            batch=max(1, min(self.batch, len(searches))),
            finished=self.keep,
            progress=lambda evaluations: self.progress(self.evaluations + evaluations),
        )
        self.evaluations += stats.evaluations

    def keep(self, search: pool.SearchResult) -> None:
        """Note a class as reached, and its best search, unless there was no gradient at the start."""
        before = self.best.get(search.label)
        if not search.zero_gradient:
            self.reached.add(search.label)
            if before is None or search.margin > before[0]:
                self.best[search.label] = search.margin, search.input

    def movable(self, label: int, seed: int, *, own: bool) -> bool:
        """Whether a way may lead from an input to the logit or margin, be it through dead units."""
        for walk in range(WALKS):
            slope, blind = self.leaky(self.start(seed, walk), label, seed, walk, own=own)
            if blind or bool((slope != 0).any()):
                return True
        return False

    def walk(self, label: int, seed: int, walk: int, *, own: bool) -> Tensor | None:
        """A start where the class's logit, or else its margin, has a gradient; None if not found.

        A logit that is the same everywhere has been searched only where it moves of its `own`.
        """
        x, domain = self.start(seed, walk), self.classifier.domain
        extent = domain.extent.to(x)
        for _ in range(STEPS):
            if bool((self.slope(x, label, own=own) != 0).any()):
                return x[0].cpu()
            slope, _ = self.leaky(x, label, seed, walk, own=own)
            x = domain.project_(x + SIZE * extent * slope.sign())
        return None

    def climb(self, label: int, seed: int, walk: int) -> Tensor:
        """Where a class wins that one gets to through dead units, or as far as that goes."""
        x, domain = self.start(seed, walk), self.classifier.domain
        extent = domain.extent.to(x)
        for _ in range(STEPS):
            with torch.no_grad():
                if int(self.classifier(x).argmax()) == label:
                    break
            slope, _ = self.leaky(x, label, seed, walk, own=True)
            x = domain.project_(x + SIZE * extent * slope.sign())
        return x[0].cpu()

    def leaky(self, x: Tensor, label: int, *key: int, own: bool) -> tuple[Tensor, bool]:
        """`slope` through dead units, and whether there may be more to it than gradients show."""
        leak = Leaky(generator_for("harder leak", *key))
        slope = self.slope(x, label, own=own, within=leak)
        return slope, leak.blind or self.script

    def start(self, seed: int, walk: int) -> Tensor:
        """The random input (1, *shape) where a walk begins."""
        drawn = self.classifier.domain.sample(generator_for("harder walk", seed, walk))
        return drawn[None].to(self.classifier.device, torch.float32)

    def slope(self, x: Tensor, label: int, *, own: bool, within: Leaky | None = None) -> Tensor:
        """The gradient (1, *shape) of the class's logit, or else of its margin, at x."""
        self.evaluations += 1
        self.progress(self.evaluations)
        point = x.detach().requires_grad_()
        with within or nullcontext():
            logits = self.classifier(point)
        value = logits[0, label]
        if not own:
            value = pool.margins(logits, torch.tensor([label], device=x.device))[0]
        if not value.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(value, point, materialize_grads=True)
        return gradient
