"""One universal perturbation to each class, of a given kind and size, raced over the classes.

What `universal.find` does with clean samples and a growing radius, this does with few inputs, made up or
clean, and a radius that is given: every class begins with little, and those whose inputs move furthest go
on with more. `perturbations.KINDS` says what kinds of changes there are. The numbers of inputs and steps
are own choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable, TooFewInputs
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import memory
from mmbd.search.perturbations import KINDS, Perturbations
from mmbd.search.pool import margins
from mmbd.search.window_climb import in_turn


@dataclass(frozen=True)
class Lap:
    """A part of a race.

    Args:
        inputs: that a class's perturbation is tried on at every step.
        steps: of normalised ascent.
        classes: how many go on after it.
    """

    inputs: int
    steps: int
    classes: int


LAPS: tuple[Lap, ...] = (Lap(6, 4, 5), Lap(10, 8, 5))


@dataclass(frozen=True)
class Raced:
    """Where a race of perturbations ended.

    Attributes:
        samples: the inputs, with the classifier's answers without a change.
        found: one perturbation for each class that came to the end, those of the largest share first.
        logits: (classes that came to the end, n, classes) of all inputs with each of them.
        shares: (classes,) float64, the share of the inputs of other classes that go to each class; 0 for a
            class that fell behind.
        lifts: (classes,) float64, how much higher the mean margin of each class is over inputs of other
            classes, as a share of the median fall that there is to the class; of those that fell behind
            what the first lap gave, if they began at all.
        evaluations: gradient evaluations, one an input.
        passes: forward passes without a gradient, one an input.
        oom_retries: how often memory ran out.
    """

    samples: Samples
    found: Perturbations
    logits: Tensor
    shares: Tensor
    lifts: Tensor
    evaluations: int
    passes: int
    oom_retries: int = 0


def raced(
    classifier: Classifier,
    samples: Samples,
    kind: str,
    *,
    radius: float,
    seed: int,
    classes: Sequence[int] | None = None,
    laps: Sequence[Lap] = LAPS,
    step: float = 0.3,
    batch: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> Raced:
    """The perturbation of a kind and size that takes inputs to each class.

    A class's perturbation depends on no other class's; results depend on the batch by rounding only.

    Args:
        classifier: frozen by the caller.
        samples: inputs (n, *shape), made up or clean. Their classes are the classifier's own answers.
        kind: a name in `perturbations.KINDS`.
        radius: see `Perturbations`.
        seed: of the random starts, and of the order of inputs.
        classes: that begin; all by default.
        laps: the parts of the race.
        step: the length of a step, in units of the radius.
        batch: the most inputs at a time; by default what the device is quick with.
        progress: called with the gradient evaluations so far.

    Raises:
        ValueError: such inputs cannot be changed so, or there is no lap.
        TooFewInputs: there are no inputs, or they are all of one class.
        NotEvaluable: answers to changed inputs are not finite.
        Failed: memory runs out with a single input.
    """
    if not KINDS[kind].possible(classifier.domain):
        raise ValueError(f"inputs of {classifier.domain!r} have no perturbation of the kind {kind}")
    if not laps:
        raise ValueError("a race has one lap at least")
    labels = samples.logits.argmax(1)
    if len(labels.unique()) < 2:
        raise TooFewInputs("all inputs are of one class: nothing leads there from another one")
    size = memory.BatchSize(batch or memory.quick_batch(classifier))
    order = in_turn(labels.cpu(), seed).to(labels.device)
    rows = torch.tensor(sorted(set(range(classifier.classes) if classes is None else classes)))
    rows = rows.to(classifier.device)
    parts = [
        Perturbations.drawn(
            kind, classifier.domain, row[None], radius, generator_for("race of", kind, seed, int(row))
        )
        for row in rows
    ]
    found = replace(
        parts[0],
        targets=rows,
        values=torch.cat([part.values for part in parts]),
        success=torch.zeros(len(rows), device=rows.device),
    )
    lifts = torch.full((classifier.classes,), -math.inf, dtype=torch.float64)
    usual = margins(samples.logits, labels).median().clamp_min(1e-12)
    evaluations = passes = taken = 0
    logits = samples.logits.new_zeros(len(rows), *samples.logits.shape)
    for lap in laps:
        others = [order[labels[order] != row] for row in found.targets.tolist()]
        for _ in range(lap.steps):
            turn = torch.arange(taken, taken + lap.inputs, device=order.device)
            which = torch.stack([each[turn % len(each)] for each in others])
            taken += lap.inputs
            found = size.run(partial(_stepped, classifier, found, samples.inputs, which, step, size))
            evaluations += which.numel()
            progress(evaluations)
        logits = size.run(partial(_answers, classifier, found, samples.inputs, size))
        if not bool(logits.isfinite().all()):
            raise NotEvaluable("the network's answers to slightly changed inputs are not all finite")
        passes += len(found.targets) * len(samples.inputs)
        for row, after in zip(found.targets.tolist(), logits, strict=True):
            lifts[row] = _lift(samples.logits, after, labels, row) / usual
        best = lifts[found.targets.cpu()].argsort(descending=True, stable=True)[: lap.classes]
        found, logits = found.only(best.to(found.targets.device)), logits[best.to(logits.device)]
    counted = _counted(found, logits, samples, classifier.classes)
    return Raced(
        samples, **counted, lifts=lifts, evaluations=evaluations, passes=passes, oom_retries=size.oom_retries
    )


def recounted(classifier: Classifier, found: Raced, samples: Samples, batch: int | None = None) -> Raced:
    """The same perturbations on other inputs than they were searched on: logits, shares and their order.

    Args:
        classifier: frozen by the caller.
        found: where a race ended; its lifts stay.
        samples: inputs (n, *shape) with the classifier's answers.
        batch: the most inputs at a time; by default what the device is quick with.

    Raises:
        NotEvaluable: answers to changed inputs are not finite.
        Failed: memory runs out with a single input.
    """
    size = memory.BatchSize(batch or memory.quick_batch(classifier))
    logits = size.run(partial(_answers, classifier, found.found, samples.inputs, size))
    if not bool(logits.isfinite().all()):
        raise NotEvaluable("the network's answers to slightly changed inputs are not all finite")
    return replace(
        found,
        samples=samples,
        passes=found.passes + len(found.found.targets) * len(samples.inputs),
        oom_retries=found.oom_retries + size.oom_retries,
        **_counted(found.found, logits, samples, classifier.classes),
    )


def _counted(found: Perturbations, logits: Tensor, samples: Samples, classes: int) -> dict[str, Any]:
    """Shares (classes,) of the inputs of others, and what they order: perturbations and their logits."""
    labels = samples.logits.argmax(1)
    shares = torch.zeros(classes, dtype=torch.float64)
    for row, after in zip(found.targets.tolist(), logits, strict=True):
        others = labels != row
        shares[row] = (after[others].argmax(1) == row).double().mean() if bool(others.any()) else 0.0
    last = shares[found.targets.cpu()].argsort(descending=True, stable=True).to(found.targets.device)
    success = shares[found.targets[last].cpu()].to(found.values)
    return {"found": replace(found.only(last), success=success), "logits": logits[last], "shares": shares}


def _answers(classifier: Classifier, found: Perturbations, inputs: Tensor, batch: memory.BatchSize) -> Tensor:
    """Logits (rows, n, classes) of all inputs (n, *shape) with each of the perturbations."""
    pairs = torch.arange(len(found.targets) * len(inputs), device=inputs.device)
    with torch.no_grad():
        parts = [
            classifier(found(inputs[some % len(inputs)], some // len(inputs)))
            for some in pairs.split(batch.size)
        ]
    return torch.cat(parts).view(len(found.targets), len(inputs), -1)


def _stepped(
    classifier: Classifier,
    found: Perturbations,
    inputs: Tensor,
    which: Tensor,
    step: float,
    batch: memory.BatchSize,
) -> Perturbations:
    """All perturbations after a step, each on its inputs at `which` (rows, inputs)."""
    parts: list[Tensor] = []
    for rows in torch.arange(len(which), device=which.device).split(max(1, batch.size // which.shape[1])):
        some, chosen = found.only(rows), which[rows]
        numbers = torch.arange(len(rows), device=rows.device).repeat_interleave(chosen.shape[1])
        parts.append(some.ascended(classifier, inputs[chosen.flatten()], numbers, step, batch.size).values)
    return replace(found, values=torch.cat(parts))


def _lift(before: Tensor, after: Tensor, labels: Tensor, row: int) -> float:
    """How much the mean margin of a class rose over inputs of others, from logits (n, classes)."""
    others = labels != row
    if not bool(others.any()):
        return -math.inf
    target = torch.full((int(others.sum()),), row, device=labels.device)
    return float((margins(after[others], target) - margins(before[others], target)).mean())
