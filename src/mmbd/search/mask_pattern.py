"""Masks and patterns that take clean images to a class: the search of Neural Cleanse and its kin.

A candidate for a trigger replaces what lies under its mask: x' = (1 - mask) x + mask pattern. One
candidate is a row; in every step each row sees a few images of its own. Inside, channels come last:
gradients of small images come faster so, and stamping needs no copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import memory
from mmbd.search.adam import adam_
from mmbd.search.passes import Schedule, Search, minibatches, steps_a_pass
from mmbd.search.rows import PoolStats, Rows, keep_full
from mmbd.search.slopes import cross_entropy, gradients
from mmbd.search.stamping import box, channels_first, channels_last, pulled, squashed, stamped, unsquashed


@dataclass
class Candidates(Rows):
    """Candidates for triggers under way; `values` hold masks and patterns as `unsquashed` gives them."""

    values: Tensor  # (rows, *places, mask's channels + channels)
    first: Tensor
    second: Tensor
    best: Tensor
    step: NDArray[np.int64]
    search: NDArray[np.object_]


@dataclass(frozen=True)
class Found:
    """The outcome of one search.

    Args:
        label: the class that images are taken to.
        mask: (*places) in 0 to 1, on the CPU.
        pattern: (channels, *places), a valid input.
        norm: the sum of the mask.
        success: the share of images of other classes that the trigger takes to the class.
        reached: whether the search came to its goal; if not, this is where it ended.
        curve: the mean norm of every pass.
    """

    label: int
    mask: Tensor
    pattern: Tensor
    norm: float
    success: float
    reached: bool
    curve: tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """What masks and patterns are searched for: the loss, by default cross-entropy and a mask's norm.

    Args:
        classifier: frozen by the caller.
        samples: clean ones.
        batch: images a step.
        lr, betas: Adam's.
    """

    classifier: Classifier
    samples: Samples
    batch: int = 32
    lr: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    images: Tensor = field(init=False, repr=False)  # channels last
    chunk: int = field(init=False, repr=False)  # images that go through the network at a time

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", channels_last(self.samples.inputs))
        object.__setattr__(self, "chunk", memory.quick_batch(self.classifier))

    @property
    def steps_a_pass(self) -> int:
        """Minibatches in one pass over the samples."""
        return steps_a_pass(len(self.images), self.batch)

    @property
    def each(self) -> int:
        """Images that go through the network in a step of a row."""
        return math.ceil(len(self.images) / self.steps_a_pass)

    def at(self, places: Tensor) -> Tensor:
        """The samples at places (rows, n), channels last."""
        return self.images.index_select(0, places.flatten()).unflatten(0, places.shape)

    def form(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (rows, *places, 1) and patterns (rows, *places, channels) of values."""
        low, extent = box(self.classifier.domain, values)
        return squashed(values[..., :1]), low + extent * squashed(values[..., 1:])

    def loss(
        self, rows: Candidates, places: Tensor, labels: Tensor, mask: Tensor, pattern: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is minimised, as far as its derivatives go, and hits (rows, images) of the classes.

        Args:
            rows: the searches.
            places: (rows, images) which of the samples each row sees.
            labels: (rows,) the classes that they are to be taken to.
            mask: (rows, *places, 1), with gradients.
            pattern: (rows, *places, channels), with gradients.
        """
        images = self.at(places)
        total, hits = self.fit(images, labels, mask, pattern)
        return total + self.penalty(rows, mask, pattern), hits

    def fit(self, images: Tensor, labels: Tensor, mask: Tensor, pattern: Tensor) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy of stamped images (rows, n, ...) with labels (rows,), and the hits."""
        count = images.shape[1]
        wanted = labels.repeat_interleave(count)
        with torch.no_grad():
            x = stamped(images, mask, pattern).flatten(0, 1)
        # The slopes are divided by the count, not the gradients, which are far more numbers.
        logits, gradient = gradients(
            self.classifier,
            channels_first(x),
            wanted,
            lambda logits, labels: cross_entropy(logits, labels).div_(count),
            chunk=self.chunk,
        )
        gradient = gradient.movedim(1, -1).unflatten(0, (-1, count))
        return pulled(gradient, images, mask, pattern), (logits.argmax(1) == wanted).view(-1, count)

    def penalty(self, rows: Candidates, mask: Tensor, pattern: Tensor) -> Tensor:
        """The masks' L1 norms, each times the first weight of its search."""
        return (weights(rows, mask)[:, 0] * mask.flatten(1).sum(1)).sum()

    def begin(self, labels: Sequence[int], start: Callable[[int], Search], seed: int) -> Candidates:
        """Rows of searches for classes: masks and patterns uniform in 0 to 1, drawn by class."""
        searches = [start(label) for label in labels]
        *places, channels = self.images.shape[1:]
        drawn = [
            torch.rand(*places, 1 + channels, generator=generator_for("mask and pattern", seed, one.label))
            for one in searches
        ]
        values = unsquashed(torch.stack(drawn)).to(self.images.device)
        objects = np.empty(len(searches), dtype=np.object_)
        objects[:] = searches
        zero = torch.zeros_like(values)
        return Candidates(
            values, zero, zero.clone(), values.clone(), np.zeros(len(searches), np.int64), objects
        )

    def advance(self, rows: Candidates) -> NDArray[np.bool_]:
        """One step of every row; returns which searches are done."""
        searches: list[Search] = rows.search.tolist()
        device = rows.values.device
        places = torch.stack([next(one.minibatches) for one in searches]).to(device)
        labels = torch.tensor([one.label for one in searches], device=device)
        values = rows.values.detach().requires_grad_()
        mask, pattern = self.form(values)
        loss, hits = self.loss(rows, places, labels, mask, pattern)
        (gradient,) = torch.autograd.grad(loss, values)
        norms = mask.detach().flatten(1).sum(1).tolist()
        adam_(rows.values, gradient, rows.first, rows.second, rows.step, lr=self.lr, betas=self.betas)
        rows.step = rows.step + 1
        done = np.zeros(len(rows), dtype=np.bool_)
        ended = rows.step % self.steps_a_pass == 0
        for row, (one, right, norm) in enumerate(
            zip(searches, hits.double().mean(1).tolist(), norms, strict=True)
        ):
            one.hits, one.norms = one.hits + right, one.norms + norm
            if ended[row]:
                done[row], better = self.passed(one)
                if better or not one.reached:
                    rows.best[row] = rows.values[row]
                one.reached |= better
        return done

    def passed(self, one: Search) -> tuple[bool, bool]:
        """Tell a search's schedule of the pass that has ended; what it answers."""
        success, norm = one.hits / self.steps_a_pass, one.norms / self.steps_a_pass
        one.hits = one.norms = 0.0
        one.curve.append(norm)
        return one.schedule.after(success, norm)

    def result(self, rows: Candidates, row: int) -> Found:
        """What the search in a row has found."""
        one: Search = rows.search[row]
        mask, pattern = self.form(rows.best[row : row + 1])
        others = self.samples.labels != one.label
        success = math.nan
        if bool(others.any()):
            hits = [
                self.classifier(channels_first(stamped(part[None], mask, pattern)[0])).argmax(1) == one.label
                for part in self.images[others].split(self.chunk)
            ]
            success = float(torch.cat(hits).double().mean())
        flat = mask[0, ..., 0].clamp(0, 1).cpu()  # rounding may go a little beyond
        found = self.classifier.domain.project_(channels_first(pattern).clone())[0].cpu().contiguous()
        return Found(
            one.label, flat, found, float(flat.double().sum()), success, one.reached, tuple(one.curve)
        )


def weights(rows: Candidates, like: Tensor) -> Tensor:
    """(rows, weights) of the penalties in the pass under way."""
    return torch.tensor([one.schedule.weights for one in rows.search]).to(like)


def search(
    problem: Problem,
    start: Callable[[int], Schedule],
    *,
    seed: int,
    rows: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> tuple[dict[int, Found], PoolStats]:
    """Search for a mask and a pattern of every class, side by side; what is found, by class.

    Args:
        problem: what is searched for.
        start: a new schedule for the search of a class.
        seed: of the first masks and patterns, and of the order of the images; both by class.
        rows: the most searches side by side; by default as many as `memory_limit` holds.
        memory_limit: bytes for activations; by default a share of what is free.
        progress: called after every step with the gradient evaluations so far.
    """
    found: dict[int, Found] = {}
    classes, count, each = problem.classifier.classes, len(problem.images), problem.each
    if rows is None:
        fit = memory.batch_size(problem.classifier, memory_limit, most=each * classes)
        rows = max(1, fit // each)

    def begun(label: int) -> Search:
        order = generator_for("order of images", seed, label)
        return Search(label, start(label), minibatches(count, problem.batch, order))

    def finished(batch: Candidates, row: int) -> None:
        one = problem.result(batch, row)
        found[one.label] = one

    with torch.inference_mode(False), torch.enable_grad():
        stats = keep_full(
            range(classes),
            partial(problem.begin, start=begun, seed=seed),
            problem.advance,
            batch=rows,
            jobs=lambda batch: [one.label for one in batch.search],
            finished=finished,
            each=each,
            progress=progress,
        )
    return dict(sorted(found.items())), stats
