"""The searches under way, one a row of one batch, and one step of all of them together.

Points live where the model does. What each search has seen so far are a few numbers, which NumPy
handles in a fraction of the time that torch takes; the margins that come back after a step are the
only thing to wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search.ascent import Ascent
from mmbd.search.rows import Rows


@dataclass(frozen=True)
class SearchResult:
    """A search that has ended: its best margin and where, and how it got there.

    `curve` holds the margin at every gradient evaluation, `steps` of them; `zero_gradient` says that the
    gradient was zero at the start; `converged` that it stopped before the step limit.
    """

    label: int
    restart: int
    margin: float
    input: Tensor
    curve: Tensor
    steps: int
    converged: bool
    zero_gradient: bool


def rivals(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit but the label's, and whose it is, each of shape (batch, 1)."""
    found = logits.scatter(1, labels[:, None], -torch.inf).max(1, keepdim=True)
    return found.values, found.indices


@dataclass
class SearchBatch(Rows):
    """Searches under way, row by row: tensors on the model's device, arrays on the host."""

    x: Tensor
    best_x: Tensor
    velocity: Tensor  # without elements where there is no momentum
    labels: Tensor
    label: NDArray[np.int64]  # the same on the host
    restart: NDArray[np.int64]
    step: NDArray[np.int64]
    best: NDArray[np.float32]
    stalled: NDArray[np.int64]
    zero_gradient: NDArray[np.bool_]
    curve: NDArray[np.float32]
    buffer: Tensor | None = field(default=None, init=False)  # for the classifier, see there

    @classmethod
    def begin(
        cls,
        classifier: Classifier,
        searches: Sequence[tuple[int, int]],
        ascent: Ascent,
        start: Callable[[int], Tensor],
    ) -> SearchBatch:
        """A batch of searches (class, restart) at their starting points."""
        device, count = classifier.device, len(searches)
        x = torch.stack([start(restart) for _, restart in searches]).to(device, torch.float32)
        if x.dim() == 4 and _convolutional(classifier):
            x = x.contiguous(memory_format=torch.channels_last)
        return cls(
            x=x,
            best_x=x.clone(),
            velocity=torch.zeros_like(x) if ascent.momentum else torch.empty(count, 0),
            labels=torch.tensor([label for label, _ in searches], device=device),
            label=np.array([label for label, _ in searches], dtype=np.int64),
            restart=np.array([restart for _, restart in searches], dtype=np.int64),
            step=np.zeros(count, dtype=np.int64),
            best=np.full(count, -np.inf, dtype=np.float32),
            stalled=np.zeros(count, dtype=np.int64),
            zero_gradient=np.zeros(count, dtype=np.bool_),
            curve=np.full((count, ascent.steps), np.nan, dtype=np.float32),
        )

    def searches(self) -> Iterable[tuple[int, int]]:
        """The (class, restart) of every row."""
        return zip(self.label.tolist(), self.restart.tolist(), strict=True)

    def advance(self, classifier: Classifier, ascent: Ascent) -> NDArray[np.bool_]:
        """One gradient evaluation of every row; returns which searches are done.

        Raises:
            NotEvaluable: a margin is NaN or infinite, or no gradient reaches the input.
        """
        at, domain = self.step, classifier.domain
        valid, margin, gradient = self._evaluate(classifier, ascent)
        if not np.isfinite(margin).all():
            row = int(np.flatnonzero(~np.isfinite(margin))[0])
            raise NotEvaluable(
                f"the margin of class {self.label[row]} became {margin[row]}: see that "
                "the weights are whole, and that --bounds, --mean and --std are those of the "
                "network's training"
            )
        rows = np.arange(len(at))
        self.curve[rows, at] = margin
        previous = self.curve[rows, np.maximum(at - 1, 0)]
        with np.errstate(over="ignore"):
            change = np.abs(margin - previous)
        moved = change > ascent.tolerance * np.maximum(np.abs(previous), 1e-12)
        self.stalled = np.where(moved | (at == 0), 0, self.stalled + 1)
        better = margin > self.best
        self.best = np.where(better, margin, self.best)
        if better.all():
            self.best_x.copy_(valid)
        elif better.any():  # a share of 0 or 1 leaves every bit as it is; no indexing is as fast
            self.best_x.lerp_(valid, self._per_row(better.astype(np.float32)))
        fresh = at == 0
        if fresh.any():
            alive = (gradient != 0).flatten(1).any(1).cpu().numpy()
            self.zero_gradient |= fresh & ~alive
        self.step = at + 1
        done = (self.step >= ascent.steps) | (self.stalled >= ascent.patience)
        if done.all():
            return done
        direction = ascent.follow_(self.velocity, gradient, domain)
        sizes = _sizes(ascent)[at]
        if (at == at[0]).all():
            self.x.add_(direction, alpha=float(sizes[0]))
        else:
            self.x.addcmul_(direction, self._per_row(sizes))
        if ascent.constraint == "project":
            domain.project_(self.x)
        return done

    def _evaluate(self, classifier: Classifier, ascent: Ascent) -> tuple[Tensor, NDArray[np.float32], Tensor]:
        """The points in the domain, their margins, and the gradients of these at `x`."""
        x = self.x.detach().requires_grad_()  # a fresh leaf on the same storage
        if ascent.constraint == "clamp":
            valid = classifier.domain.project_(x.clone())
            logits = classifier(valid)
        else:
            valid = x
            if self.buffer is None:
                self.buffer = torch.empty_like(self.x)
            logits = classifier(x, buffer=self.buffer)
        labels, values = self.labels[:, None], logits.detach()
        highest, rival = rivals(values, self.labels)
        gradient = None
        if logits.requires_grad:
            # The margin's own derivative, by hand: autograd would take longer over it.
            slope = torch.zeros_like(values).scatter_(1, labels, 1.0).scatter_(1, rival, -1.0)
            (gradient,) = torch.autograd.grad(logits, x, slope, allow_unused=True)
        if gradient is None:
            raise NotEvaluable(
                "no gradient reaches the input: the model is not differentiable: "
                "leave out what rounds or detaches in its forward pass"
            )
        margin = (values.gather(1, labels) - highest)[:, 0]
        return valid.detach(), margin.cpu().numpy(), gradient

    def _per_row(self, values: NDArray[np.float32]) -> Tensor:
        """One number a row as a tensor that broadcasts over the points."""
        return torch.from_numpy(values).to(self.x.device).reshape(-1, *[1] * (self.x.dim() - 1))

    def result(self, row: int, ascent: Ascent) -> SearchResult:
        """The result of the search in a row."""
        steps = int(self.step[row])
        return SearchResult(
            label=int(self.label[row]),
            restart=int(self.restart[row]),
            margin=float(self.best[row]),
            input=self.best_x[row].cpu().clone(memory_format=torch.contiguous_format),
            curve=torch.from_numpy(self.curve[row, :steps].copy()),
            steps=steps,
            converged=bool(self.stalled[row] >= ascent.patience),
            zero_gradient=bool(self.zero_gradient[row]),
        )


def _convolutional(classifier: Classifier) -> bool:
    """Whether channels had better lie together; a model that flattens its input suffers by it."""
    model = classifier.model
    return not isinstance(model, nn.Module) or any(
        isinstance(module, nn.Conv2d) for module in model.modules()
    )


@cache
def _sizes(ascent: Ascent) -> NDArray[np.float32]:
    return ascent.sizes(torch.arange(float(ascent.steps))).numpy()
