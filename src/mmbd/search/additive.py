"""Additive perturbations: one change that takes most inputs of a source class to a target class.

The search of PT-RED (Xiang et al. 2020). One perturbation is a row; in every step each row sees a few
images of its own. Whether it already takes enough of all its images is looked up image by image, those
that resisted last come first, and only until the answer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.search import memory
from mmbd.search.enough import Look, Pair, Search, needed, tell
from mmbd.search.rows import PoolStats, Rows, keep_full
from mmbd.search.slopes import cross_entropy, gradients


@dataclass
class Perturbations(Rows):
    """Perturbations under way."""

    change: Tensor  # (rows, *shape)
    step: NDArray[np.int64]
    reached: NDArray[np.bool_]
    search: NDArray[np.object_]

    def pairs(self) -> Iterable[Pair]:
        """The searches in the rows."""
        return [one.pair for one in self.search]


@dataclass(frozen=True)
class Found:
    """The outcome of one search.

    Args:
        pair: the source (None for all other classes) and the target.
        change: (*shape) what is added to an input, in the inputs' units, on the CPU; None where it was
            not kept.
        norm: its L2 norm, where every element counts in shares of what it can range over.
        success: the share of all its images that the change takes to the target.
        reached: whether that is enough.
        steps: gradient steps taken.
    """

    pair: Pair
    change: Tensor | None
    norm: float
    success: float
    reached: bool
    steps: int


@dataclass
class Problem:
    """What is searched for; all sizes in shares of what an element can range over.

    Args:
        classifier: frozen by the caller.
        images: (n, *shape) clean ones, on the classifier's device.
        labels: (n,) their classes.
        seed: of the minibatches.
        steps: the most gradient steps.
        batch: images a step.
        lr, late_lr: of plain gradient descent on the mean cross-entropy, in the first `early` steps and
            after them.
        early: see there.
        goal: the share of all images that the change has to take to the target.
        clip: whether changed inputs are moved back into the domain.
        gradients, forwards: images that went through the network so far, with gradients and without.
    """

    classifier: Classifier
    images: Tensor
    labels: Tensor
    seed: int
    steps: int
    batch: int
    lr: float
    late_lr: float
    early: int
    goal: float
    clip: bool
    gradients: int = field(default=0, init=False)
    forwards: int = field(default=0, init=False)
    chunk: int = field(init=False, repr=False)  # images that go through the network at a time

    def __post_init__(self) -> None:
        self.chunk = memory.quick_batch(self.classifier)

    def of(self, source: int | None, target: int) -> NDArray[np.int64]:
        """Where the images of a source lie; of all classes but the target for None."""
        wanted = self.labels != target if source is None else self.labels == source
        return wanted.nonzero().flatten().cpu().numpy()

    def begin(self, pairs: Sequence[Pair]) -> Perturbations:
        """Rows for these pairs, unchanged inputs all."""
        searches = np.empty(len(pairs), dtype=np.object_)
        for row, (source, target) in enumerate(pairs):
            places = self.of(source, target)
            key = ("PT-RED", self.seed, "all others" if source is None else source, target)
            searches[row] = Search(
                (source, target),
                places,
                needed(self.goal, len(places)),
                generator_for(*key),
                np.ones(len(places), np.bool_),
            )
        return Perturbations(
            torch.zeros(len(pairs), *self.images.shape[1:], device=self.images.device),
            np.zeros(len(pairs), np.int64),
            np.zeros(len(pairs), np.bool_),
            searches,
        )

    def advance(self, rows: Perturbations) -> NDArray[np.bool_]:
        """Look whether rows are there, and take one step in those that are not; which are done."""
        looks = [Look.at(one) for one in rows.search]
        drawn = [look.search.drawn(self.batch) for look in looks]
        inputs, labels, inside = self.changed(rows.change, looks, drawn)
        logits, gradient = gradients(self.classifier, inputs, labels, cross_entropy, chunk=self.chunk)
        self.gradients += len(inputs)
        tell(looks, drawn, logits.argmax(1) == labels)
        self.look_on(rows, looks)
        rows.reached = np.array([look.reached is True for look in looks])
        done = rows.reached | (rows.step >= self.steps)
        if inside is not None:
            gradient = gradient * inside
        mean = torch.stack([part.mean(0) for part in gradient.split([len(one) for one in drawn])])
        extent = self.classifier.domain.extent.to(mean)
        lr = np.where(done, 0.0, np.where(rows.step < self.early, self.lr, self.late_lr)).astype(np.float32)
        size = torch.from_numpy(lr).to(mean.device).view(-1, *[1] * (mean.dim() - 1))
        # Twice the extent: a step in shares of it follows the slope by those, and is such a share itself.
        rows.change.sub_(size * extent.square() * mean)
        rows.step = rows.step + ~done
        return done

    def look_on(self, rows: Perturbations, looks: Sequence[Look]) -> None:
        """Look at further images of all rows until it is known which are there."""
        while open_rows := [row for row, look in enumerate(looks) if look.reached is None]:
            some = [looks[row] for row in open_rows]
            picked = [look.next() for look in some]
            inputs, labels, _ = self.changed(rows.change[open_rows], some, picked)
            tell(some, picked, self.logits(inputs).argmax(1) == labels)

    def changed(
        self, change: Tensor, looks: Sequence[Look], picked: Sequence[NDArray[np.int64]]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Changed images of some rows, one row after the other, and the targets of each.

        Also, with clipping, where an image was not clipped.
        """
        device = self.images.device
        places = np.concatenate([look.search.places[own] for look, own in zip(looks, picked, strict=True)])
        row = torch.from_numpy(np.repeat(np.arange(len(looks)), [len(own) for own in picked])).to(device)
        targets = torch.tensor([look.search.pair[1] for look in looks], device=device)
        inputs = self.images[torch.from_numpy(places).to(device)]
        inputs += change[row]
        if not self.clip:
            return inputs, targets[row], None
        clipped = self.classifier.domain.project_(inputs.clone())
        return clipped, targets[row], clipped == inputs

    def logits(self, inputs: Tensor) -> Tensor:
        """The logits of inputs, without gradients."""
        self.forwards += len(inputs)
        with torch.no_grad():
            logits = torch.cat([self.classifier(part) for part in inputs.split(self.chunk)])
        if not bool(logits.isfinite().all()):
            raise NotEvaluable("the network's answers to slightly changed inputs are not all finite")
        return logits

    def result(self, rows: Perturbations, row: int) -> Found:
        """What the search in a row has found."""
        one: Search = rows.search[row]
        change = rows.change[row : row + 1]
        look = Look.at(one)
        inputs, labels, _ = self.changed(change, [look], [np.arange(len(one.places))])
        success = float((self.logits(inputs).argmax(1) == labels).double().mean())
        shares = change[0] / self.classifier.domain.extent.to(change)
        return Found(
            one.pair,
            change[0].cpu().contiguous(),
            float(shares.double().norm()),
            success,
            bool(rows.reached[row]),
            int(rows.step[row]),
        )


def search(
    problem: Problem,
    pairs: Sequence[Pair],
    *,
    rows: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> tuple[dict[Pair, Found], PoolStats]:
    """Search for the perturbations of all pairs, side by side; what is found, in the order of the pairs.

    The change itself is kept of the smallest one a target alone, among those that got there.

    Args:
        problem: what is searched for.
        pairs: each with at least one image.
        rows: the most searches side by side; by default as many as `memory_limit` holds.
        memory_limit: bytes for activations; by default a share of what is free.
        progress: called after every step with the gradient evaluations so far.
    """
    found: dict[Pair, Found] = {}
    smallest: dict[int, Found] = {}
    if rows is None:
        most = problem.batch * len(pairs)
        fit = memory.batch_size(problem.classifier, memory_limit, most=most)
        rows = max(1, fit // problem.batch)

    def finished(batch: Perturbations, row: int) -> None:
        one = problem.result(batch, row)
        found[one.pair] = replace(one, change=None)
        before = smallest.get(one.pair[1])
        if one.reached and one.norm > 0 and (before is None or _size(one) < _size(before)):
            smallest[one.pair[1]] = one

    with torch.inference_mode(False), torch.enable_grad():
        stats = keep_full(
            pairs,
            problem.begin,
            problem.advance,
            batch=rows,
            jobs=lambda batch: batch.pairs(),
            finished=finished,
            each=problem.batch,
            progress=progress,
        )
    found |= {one.pair: one for one in smallest.values()}
    return {pair: found[pair] for pair in pairs}, replace(stats, evaluations=problem.gradients)


def _size(one: Found) -> tuple[float, int]:
    return one.norm, -1 if one.pair[0] is None else one.pair[0]
