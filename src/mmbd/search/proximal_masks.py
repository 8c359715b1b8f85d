"""Small masks by proximal steps: searches for masks and patterns that move images to or from classes.

This is the search of TrojanNetDetector (Wang et al. 2020), as its script for limited data does it:
x' = (1 - mask) x + mask pattern, where a mask has the image's channels. An iteration is a step of Adam
on the mask, a step towards zero of size lr / c that makes it sparse, and a step of Adam on the pattern.
Both of Adam's steps count as one in the script, so that its correction of the running means is that of
twice as many steps. That matters: with separate counts no step would ever be larger than lr where the
gradient is constant, and with c = 1 no mask would ever grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import memory
from mmbd.search.adam import adam_
from mmbd.search.batch import rivals
from mmbd.search.rows import PoolStats, Rows, keep_full
from mmbd.search.slopes import gradients
from mmbd.search.stamping import box, channels_first, channels_last, pulled, stamped

# No step of Adam with these running means is larger than 7.3 lr, so below this c a mask stays empty.
EMPTY_BELOW = 0.13


@dataclass(frozen=True)
class Run:
    """One run of iterations with one c.

    Args:
        c: the masks' L1 norm weighs 1 / c.
        success: whether enough of the images were where they should be, after any iteration.
        share: the share of the images that are where they should be at the end.
        area: the sum of the mask at the end.
        answers: of the network at the end, (images, classes), or what `Problem.represent` gave.
        mask: (*places, channels) at the end, 0 to 1.
        pattern: (*places, channels) at the end, as a share of the box.
    """

    c: float
    success: bool
    share: float
    area: float
    answers: Tensor
    mask: Tensor
    pattern: Tensor


class Plan(Protocol):
    """Which c the next run takes; `ended` hears of a run and says whether it was the last."""

    @property
    def c(self) -> float: ...

    def ended(self, run: Run) -> bool: ...


@dataclass
class Search:
    """One mask and pattern for a number of images.

    Args:
        places: (images,) which of the samples.
        wanted: (images,) the class that an image is to be taken to, or `away(label)`.
        plan: see `Plan`.
    """

    places: Tensor
    wanted: Tensor
    plan: Plan
    success: bool = field(default=False, init=False)


def away(labels: Tensor) -> Tensor:
    """What stands for leaving these classes, to whichever other one."""
    return ~labels


def aims(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The class of each image, and 1 where it is to be the answer, -1 where it is not to be."""
    leaves = wanted < 0
    return torch.where(leaves, ~wanted, wanted), torch.where(leaves, -1.0, 1.0)


def shortfall(logits: Tensor, wanted: Tensor) -> Tensor:
    """How many logits each image lacks to be where it is wanted, (images,); negative if it is there."""
    labels, sign = aims(wanted)
    own = logits.gather(1, labels[:, None])
    return sign * (rivals(logits, labels)[0] - own)[:, 0]


def slope(logits: Tensor, wanted: Tensor, confidence: float) -> Tensor:
    """The derivative of max(-confidence, shortfall) by the logits, for each image."""
    labels, sign = aims(wanted)
    felt = (sign * (shortfall(logits, wanted) > -confidence))[:, None].to(logits)
    rival = rivals(logits, labels)[1]
    return torch.zeros_like(logits).scatter_(1, rival, felt).scatter_(1, labels[:, None], -felt)


def shrunk_(mask: Tensor, amount: Tensor) -> Tensor:
    """The proximal step of an L1 norm, and then back to 0 to 1, in place; returns the mask."""
    return mask.sub_(amount).clamp_(0, 1)


@dataclass
class Masks(Rows):
    """Searches under way; channels come last."""

    places: Tensor  # (rows, images)
    wanted: Tensor  # (rows, images)
    mask: Tensor  # (rows, *places, channels), as the next five
    mask_first: Tensor
    mask_second: Tensor
    pattern: Tensor
    pattern_first: Tensor
    pattern_second: Tensor
    step: NDArray[np.int64]  # of the run
    search: NDArray[np.object_]


@dataclass(frozen=True)
class Problem:
    """What all searches have in common.

    Args:
        classifier: frozen by the caller.
        samples: clean ones.
        lr: Adam's, of the mask; for the pattern it is in units of which the box has `levels`.
        steps: iterations a run.
        confidence: a hinge goes no further down than to minus this, in logits.
        goal: a run is a success if more than this share of the images are where they should be.
        levels: the pattern starts one unit above the lowest input.
        represent: answers to inputs (n, *shape) to keep in place of logits.
    """

    classifier: Classifier
    samples: Samples
    lr: float
    steps: int = 101
    confidence: float = 15.0
    goal: float = 0.7
    levels: float = 255.0
    represent: Callable[[Tensor], Tensor] | None = None
    images: Tensor = field(init=False, repr=False)  # channels last
    chunk: int = field(init=False, repr=False)  # images that go through the network at a time

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", channels_last(self.samples.inputs))
        object.__setattr__(self, "chunk", memory.quick_batch(self.classifier))

    def begin(self, searches: Sequence[Search]) -> Masks:
        """Rows of searches; one that memory interrupted begins its run again."""
        device = self.images.device
        zero = torch.zeros(len(searches), *self.images.shape[1:], device=device)
        objects = np.empty(len(searches), dtype=np.object_)
        objects[:] = searches
        for one in searches:
            one.success = False
        return Masks(
            torch.stack([one.places for one in searches]).to(device),
            torch.stack([one.wanted for one in searches]).to(device),
            zero,
            zero.clone(),
            zero.clone(),
            torch.full_like(zero, 1 / self.levels),
            zero.clone(),
            zero.clone(),
            np.zeros(len(searches), dtype=np.int64),
            objects,
        )

    def advance(self, rows: Masks) -> NDArray[np.bool_]:
        """One iteration of every row; returns which searches are done."""
        images = self.images[rows.places]
        constants = np.array([one.plan.c for one in rows.search])
        shrink = torch.tensor(self.lr / constants, dtype=torch.float32, device=images.device)

        mask = rows.mask.clone().requires_grad_()
        _, loss = self._loss(rows, images, mask, rows.pattern)
        (gradient,) = torch.autograd.grad(loss, mask)
        adam_(rows.mask, gradient, rows.mask_first, rows.mask_second, 2 * rows.step, lr=self.lr)
        shrunk_(rows.mask, shrink.view(-1, *[1] * (mask.dim() - 1)))

        pattern = rows.pattern.clone().requires_grad_()
        logits, loss = self._loss(rows, images, rows.mask, pattern)
        (gradient,) = torch.autograd.grad(loss, pattern)
        lr = self.lr / self.levels
        adam_(rows.pattern, gradient, rows.pattern_first, rows.pattern_second, 2 * rows.step + 1, lr=lr)
        rows.pattern.clamp_(0, 1)

        rows.step = rows.step + 1
        right = shortfall(logits, rows.wanted.flatten()).view(len(rows), -1) <= 0
        shares = right.double().mean(1).tolist()
        for one, share in zip(rows.search, shares, strict=True):
            one.success |= share > self.goal
        ended = (rows.step >= self.steps) | (constants < EMPTY_BELOW)
        answers = logits.view(*right.shape, -1)
        done = np.zeros(len(rows), dtype=np.bool_)
        for row in np.flatnonzero(ended).tolist():
            done[row] = self._ended(rows, row, shares[row], answers[row])
        return done

    def _loss(self, rows: Masks, images: Tensor, mask: Tensor, pattern: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (images of all rows, classes), and a loss with the right derivatives."""
        count = images.shape[1]
        low, extent = box(self.classifier.domain, pattern)
        inputs = low + extent * pattern
        with torch.no_grad():
            x = stamped(images, mask, inputs).flatten(0, 1)
        hinges = partial(slope, confidence=self.confidence)
        wanted = rows.wanted.flatten()
        logits, gradient = gradients(self.classifier, channels_first(x), wanted, hinges, chunk=self.chunk)
        return logits, pulled(gradient.movedim(1, -1).unflatten(0, (-1, count)), images, mask, inputs)

    def _ended(self, rows: Masks, row: int, share: float, answers: Tensor) -> bool:
        one: Search = rows.search[row]
        mask, pattern = rows.mask[row], rows.pattern[row]
        if self.represent is not None:
            images = self.images[rows.places[row]]
            answers = self.represent(channels_first(self.triggered(images, mask, pattern)))
        area, kept = float(mask.double().sum()), [part.cpu().clone() for part in (answers, mask, pattern)]
        done = one.plan.ended(Run(one.plan.c, one.success, share, area, *kept))
        one.success = False
        rows.step[row] = 0
        for zeroed in (rows.mask, rows.mask_first, rows.mask_second, rows.pattern_first, rows.pattern_second):
            zeroed[row] = 0
        rows.pattern[row] = 1 / self.levels
        return done

    def triggered(self, images: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
        """Images (n, *places, channels) with a mask and pattern (a share of the box) of a run."""
        low, extent = box(self.classifier.domain, pattern)
        return stamped(images[None], mask[None], (low + extent * pattern)[None])[0]


def search(
    problem: Problem,
    searches: Iterable[Search],
    images: int,
    *,
    rows: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> PoolStats:
    """Run searches side by side, each with so many images, until their plans say that they are done.

    Args:
        problem: what they have in common.
        searches: in the order in which they begin.
        images: of every search.
        rows: the most searches side by side; by default as many as `memory_limit` holds.
        memory_limit: bytes for activations; by default a share of what is free.
        progress: called after every iteration with the gradient evaluations so far.
    """
    if rows is None:
        rows = max(
            1, memory.batch_size(problem.classifier, memory_limit, most=memory.LARGEST_BATCH) // images
        )
    with torch.inference_mode(False), torch.enable_grad():
        return keep_full(
            searches,
            problem.begin,
            problem.advance,
            batch=rows,
            jobs=lambda batch: batch.search.tolist(),
            finished=lambda batch, row: None,
            each=2 * images,
            progress=progress,
        )
