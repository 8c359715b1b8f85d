"""How far one and the same perturbation of all inputs lifts every class; no data needed.

A trigger works on any input it is put into. So beside the height that a class's margin can reach
somewhere (`maximum_margins`), a backdoor shows in how much of it one change buys everywhere: a
universal perturbation (`perturbations`), found by gradient ascent. Triggers are faint or small, so
two kinds are searched for: one added everywhere, bounded to about 8/255 of the domain's extent, and
a sparse one, of a hundredth of the places but as far as the domain goes. The inputs that they are to
work on are made up: smooth random ones, each moved just far enough to be put into a class of its
own. Ascent may miss a trigger from some inputs and find it from others, so there are two sets of
them, and the better one counts, as among restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Domain, smooth
from mmbd.model.forward import logits_of
from mmbd.search import memory, pool
from mmbd.search.ascent import Ascent
from mmbd.search.perturbations import KINDS, LEAST_PLACES, places
from mmbd.search.universal_settings import Search, universal_evaluations

__all__ = ["Search", "UniversalGains", "together", "universal_evaluations", "universal_gains"]

# A gain counts as at least this share of the largest: next to nothing is not infinitely less.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class UniversalGains:
    """What universal perturbations gain for each class.

    Attributes:
        added: how far the best added one lifts the mean margin over the inputs of other classes,
            in logits, (classes,) float64; at least 0.
        sparse: how far the best sparse one lifts it.
        moved: the largest share of those inputs that one of them takes to the class, (classes,)
            float64.
        search: the settings used.
        evaluations: gradient evaluations in all.
        oom_retries: how often memory ran out and the batch was halved.
        seconds: wall time.
    """

    added: Tensor
    sparse: Tensor
    moved: Tensor
    search: Search
    evaluations: int
    oom_retries: int
    seconds: float

    @property
    def gains(self) -> Tensor:
        """The gain of every class, see `together`, (classes,) float64."""
        return together(self.added, self.sparse)


def together(added: Tensor, sparse: Tensor) -> Tensor:
    """The geometric means (classes,) of both kinds of gain (classes,), in logits."""
    kinds = [kind.clamp_min(LEAST_SHARE * float(kind.max())) for kind in (added, sparse)]
    return (kinds[0] * kinds[1]).sqrt()


def universal_gains(
    classifier: Classifier,
    *,
    seed: int = 0,
    classes: Sequence[int] | None = None,
    on: Tensor | None = None,
    batch: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, evaluations: None,
    guide: Classifier | None = None,
    **settings: Any,
) -> UniversalGains:
    """Search for the perturbations that take made-up inputs to a class, for every class.

    A class's result depends neither on the batch nor, beyond the made-up inputs, on other classes.

    Args:
        classifier: the model; frozen for the duration.
        seed: of the made-up inputs.
        classes: only these; the others' gains are NaN.
        on: inputs (attempts x inputs, *shape) instead of those that the search makes up.
        batch: the most inputs at a time; by default as many as `memory_limit` holds.
        memory_limit: bytes for activations; by default a share of what is free.
        progress: called after every step with the classes done and the gradient evaluations so far.
        guide: the same network in another precision, which climbs (`search.precision`); gains and shares
            are those of `classifier`.
        settings: fields of `Search` to override, such as inputs=20.

    Raises:
        Failed: not even one input fits into memory.
    """
    start = time.perf_counter()
    search = replace(Search(), **settings)
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    chosen = range(classifier.classes) if classes is None else sorted(set(classes))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < classifier.classes:
        raise ValueError(f"classes must be among 0..{classifier.classes - 1}, got {classes}")
    if on is not None and len(on) != search.attempts * search.inputs:
        raise ValueError(f"{search.attempts * search.inputs} inputs are needed, got {len(on)}")
    with classifier.frozen(), torch.inference_mode(False), torch.enable_grad():
        most = len(chosen) * search.inputs
        size = min(batch or memory.batch_size(guide or classifier, memory_limit, most=most), most)
        done = 0
        work = _Work(classifier, search, size, lambda evaluations: progress(done, evaluations), guide)
        if on is None:
            sets = [work.settled(seed, attempt) for attempt in range(search.attempts)]
        else:
            sets = list(on.to(classifier.device).split(search.inputs))
        found: list[Tensor] = []

        def next_classes() -> Tensor:
            labels = torch.tensor(chosen[done : done + work.together])
            return work.best(sets, labels.to(classifier.device))

        while done < len(chosen):
            found.append(work.batch.run(next_classes))
            done += found[-1].shape[1]
            progress(done, work.evaluations)
    results = torch.full((3, classifier.classes), torch.nan, dtype=torch.float64)
    results[:, list(chosen)] = torch.cat(found, dim=1).double().cpu()
    added, sparse, moved = results
    return UniversalGains(
        added, sparse, moved, search, work.evaluations, work.batch.oom_retries, time.perf_counter() - start
    )


class _Work:
    """The classifier, how many inputs it takes at a time, and what was spent on it, which `told` hears."""

    def __init__(
        self,
        classifier: Classifier,
        search: Search,
        size: int,
        told: Callable[[int], None],
        guide: Classifier | None,
    ) -> None:
        self.told, self.guide, self.guided = told, guide or classifier, guide is not None
        self.classifier, self.search, self.batch = classifier, search, memory.BatchSize(size)
        self.rule = Ascent(restarts=1, steps=search.steps, rule="l2", size=search.size)
        self.evaluations = 0

    @property
    def together(self) -> int:
        """Classes that are searched side by side."""
        return max(1, self.batch.size // self.search.inputs)

    def gradients(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Margins (batch,) of the labels, and their gradients at `x` (batch, *shape)."""
        found: list[Tensor] = []
        ascents: list[Tensor] = []
        for part, wanted in zip(x.split(self.batch.size), labels.split(self.batch.size), strict=True):
            point = part.detach().requires_grad_()
            margin = pool.margins(self.guide(point), wanted)
            (gradient,) = torch.autograd.grad(margin.sum(), point)
            found.append(margin.detach())
            ascents.append(gradient)
        self.evaluations += len(x)
        self.told(self.evaluations)
        return torch.cat(found), torch.cat(ascents)

    def margins(self, x: Tensor, labels: Tensor, *, exact: bool = False) -> Tensor:
        """Margins (batch,) of the labels at `x` (batch, *shape); the classifier's own where `exact`."""
        asked = self.classifier if exact else self.guide
        pairs = zip(x.split(self.batch.size), labels.split(self.batch.size), strict=True)
        with torch.no_grad():
            return torch.cat([pool.margins(asked(part), some) for part, some in pairs])

    def settled(self, seed: int, attempt: int) -> Tensor:
        """One set of made-up inputs (inputs, *shape), spread over as many classes as possible."""
        domain, count, classes = self.classifier.domain, self.search.inputs, self.classifier.classes
        device = self.classifier.device
        numbers = torch.arange(count)
        labels = (numbers * classes // count if count < classes else numbers % classes).to(device)
        rows = range(attempt * count, (attempt + 1) * count)
        starts = [smooth(domain, generator_for("universal", seed, row)) for row in rows]
        x = torch.stack(starts).to(device)
        best, highest = x.clone(), torch.full((count,), -torch.inf, device=device)
        for _ in range(self.search.settling):
            margins, gradient = self.batch.run(partial(self.gradients, x, labels))
            better = margins > highest
            highest = torch.where(better, margins, highest)
            best[better] = x[better]
            restless = highest <= 0
            if not bool(restless.any()):
                break
            step = self.search.stride * self.rule.direction(gradient, domain)
            x = domain.project_(x + step * _spread(restless.to(x), domain))
        return best

    def best(self, sets: Sequence[Tensor], labels: Tensor) -> Tensor:
        """The best set's gains of added and of sparse perturbations and shares moved, (3, labels)."""
        before = self.evaluations
        try:
            each = [self.both(inputs, labels) for inputs in sets]
        except BaseException:
            self.evaluations = before
            raise
        return torch.stack(each).amax(0)

    def both(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Gains of added and of sparse perturbations, and shares moved, of one set, (3, labels)."""
        every = inputs.repeat(len(labels), *[1] * (inputs.dim() - 1))
        wanted = labels.repeat_interleave(len(inputs))
        start = self.gradients(every, wanted)
        if self.guided:
            logits = logits_of(self.classifier, inputs, batch=self.batch.size).repeat(len(labels), 1)
            start = pool.margins(logits, wanted), start[1]
        added, moved = self.climb(every, wanted, start, "added")
        sparse, also = self.climb(every, wanted, start, "sparse")
        return torch.stack((added, sparse, torch.maximum(moved, also)))

    def change(self, kind: str, velocity: Tensor) -> Tensor:
        """The perturbations in the directions of `velocity`, as large as the settings say."""
        domain, pick = self.classifier.domain, KINDS[kind].pick
        if pick is None:
            return self.search.size * self.rule.direction(velocity, domain)
        return pick(velocity, domain, max(LEAST_PLACES, round(self.search.share * places(domain))))

    def climb(
        self, every: Tensor, wanted: Tensor, start: tuple[Tensor, Tensor], kind: str
    ) -> tuple[Tensor, Tensor]:
        """Gains and shares of moved inputs (labels,) of the best perturbations on the way.

        `every` (pairs, *shape) holds the set of made-up inputs once for each label, `wanted`
        (pairs,) the label, and `start` the margins and gradients there. Where changes are picked by
        worth, the gradients of elements that leave the domain count, as all of them leave it: they
        tell whether the place is well chosen.
        """
        domain, rows, row = self.classifier.domain, self.search.inputs, KINDS[kind]
        margins, gradient = start[0].view(-1, rows), start[1]
        # Inputs that are in the class already say nothing, unless all of them are.
        counted = (margins <= 0).to(margins)
        counted = torch.where(counted.any(1, keepdim=True), counted, 1.0)
        velocity = every.new_zeros((len(margins), *every.shape[1:]))
        base = best = _mean(margins, counted)
        top = every
        share = _mean((margins > 0).to(margins), counted)
        for step in range(1, self.search.steps + 1):
            ascent = (gradient.unflatten(0, (-1, rows)) * _spread(counted, domain)).sum(1)
            velocity = self.search.momentum * velocity + self.rule.direction(ascent, domain)
            shifted = row.moved(every, self.change(kind, velocity).repeat_interleave(rows, dim=0))
            x = domain.project_(shifted.clone())
            if step < self.search.steps:
                margins, gradient = self.gradients(x, wanted)
                if row.pick is None:  # the projection's own gradient
                    gradient = gradient * (x == shifted)
            else:
                margins = self.margins(x, wanted)
            margins = margins.view(-1, rows)
            mean = _mean(margins, counted)
            higher = mean > best
            best = torch.where(higher, mean, best)
            if self.guided:
                top = torch.where(_spread(higher.repeat_interleave(rows), domain), x, top)
            share = torch.where(higher, _mean((margins > 0).to(margins), counted), share)
        if self.guided:
            margins = self.margins(top, wanted, exact=True).view(-1, rows)
            best = _mean(margins, counted).maximum(base)
            share = _mean((margins > 0).to(margins), counted)
        return best - base, share


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted means (labels,) of values (labels, inputs)."""
    return (values * weights).sum(1) / weights.sum(1)


def _spread(values: Tensor, domain: Domain) -> Tensor:
    """`values` with an axis for each of an input's, to multiply inputs with."""
    return values.reshape(*values.shape, *[1] * len(domain.shape))
