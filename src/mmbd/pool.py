"""One pool of independent searches, run as one batch whose free slots are refilled at once.

A search maximises one class's margin from one random start. Searches do not interact, so batch
size and order change nothing but rounding; what a search draws depends on its restart alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from mmbd.ascent import Ascent
from mmbd.classifier import Classifier
from mmbd.errors import Failed, NotEvaluable


@dataclass(frozen=True)
class Finished:
    """A search that has ended: its best margin and where, and how it got there.

    `curve` holds the margin at every gradient evaluation, `steps` of them; `dead` says that the
    gradient was zero at the start; `converged` that it stopped before the step limit.
    """

    label: int
    restart: int
    margin: float
    input: Tensor
    curve: Tensor
    steps: int
    converged: bool
    dead: bool


@dataclass
class _Slots:
    """The searches under way, one a row."""

    x: Tensor
    velocity: Tensor  # without elements where there is no momentum
    label: Tensor
    restart: Tensor
    step: Tensor
    best: Tensor
    best_x: Tensor
    calm: Tensor
    dead: Tensor
    curve: Tensor

    def rows(self, keep: Tensor) -> _Slots:
        """Only these rows."""
        return _Slots(**{name: value[keep] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Tally:
    """What a run of the pool took: gradient evaluations, the batch it ended with, retreats."""

    evaluations: int
    batch: int
    retreats: int


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of each row's label minus the largest other logit (eq. 6), shape (batch,)."""
    top, order = logits.topk(2, dim=1)
    rival = torch.where(order[:, 0] == labels, top[:, 1], top[:, 0])
    return logits.gather(1, labels[:, None])[:, 0] - rival


def run(
    classifier: Classifier,
    searches: Iterable[tuple[int, int]],
    ascent: Ascent,
    start: Callable[[int], Tensor],
    *,
    batch: int,
    finished: Callable[[Finished], None],
    progress: Callable[[int], None] = lambda evaluations: None,
) -> Tally:
    """Run every (class, restart) of `searches`, at most `batch` at a time.

    Args:
        classifier: frozen by the caller.
        searches: in the order in which they are to begin.
        ascent: how to climb.
        start: the starting point of a restart, shape (*shape), on any device.
        batch: the number of slots; halved whenever memory runs out.
        finished: called once for every search, as it ends.
        progress: called after every step with the gradient evaluations so far.

    Raises:
        NotEvaluable: a margin is NaN or infinite, or no gradient reaches the input.
        Failed: memory runs out with a single search.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    queue = deque(searches)
    slots: _Slots | None = None
    evaluations = retreats = 0
    while queue or slots is not None:
        try:
            slots = _fill(classifier, slots, queue, ascent, start, batch)
            done = _step(classifier, slots, ascent)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if batch == 1:
                raise Failed("not enough memory for a single search") from error
            batch, retreats = max(1, (batch if slots is None else len(slots.x)) // 2), retreats + 1
            slots = _shrink(slots, queue, batch)
            continue
        evaluations += len(slots.x)
        if bool(done.any()):
            for row in done.nonzero().flatten().tolist():
                finished(_result(slots, row, ascent))
            slots = None if bool(done.all()) else slots.rows(~done)
        progress(evaluations)
    return Tally(evaluations, batch, retreats)


def _fill(
    classifier: Classifier,
    slots: _Slots | None,
    queue: deque[tuple[int, int]],
    ascent: Ascent,
    start: Callable[[int], Tensor],
    batch: int,
) -> _Slots:
    """Begin searches in the free slots; they leave the queue once they have begun."""
    free = batch - (0 if slots is None else len(slots.x))
    fresh = list(islice(queue, max(0, free)))
    if fresh or slots is None:
        slots = _join(slots, _begin(classifier, fresh, ascent, start))
        for _ in fresh:
            queue.popleft()
    return slots


def _shrink(slots: _Slots | None, queue: deque[tuple[int, int]], batch: int) -> _Slots | None:
    """Keep `batch` searches; the others start again later from where they started."""
    if slots is None:
        return None
    again = zip(slots.label[batch:].tolist(), slots.restart[batch:].tolist(), strict=True)
    queue.extendleft(reversed(list(again)))
    return slots.rows(torch.arange(batch, device=slots.x.device))


def _begin(
    classifier: Classifier,
    searches: list[tuple[int, int]],
    ascent: Ascent,
    start: Callable[[int], Tensor],
) -> _Slots:
    device, count = classifier.device, len(searches)
    x = torch.stack([start(restart) for _, restart in searches]).to(device, torch.float32)
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return _Slots(
        x=x,
        velocity=torch.zeros_like(x) if ascent.momentum else torch.empty(count, 0),
        label=torch.tensor([label for label, _ in searches], device=device),
        restart=torch.tensor([restart for _, restart in searches]),
        step=torch.zeros(count, device=device),
        best=torch.full((count,), -torch.inf, device=device),
        best_x=x.clone(),
        calm=torch.zeros(count, device=device),
        dead=torch.zeros(count, dtype=torch.bool, device=device),
        curve=torch.full((count, ascent.steps), torch.nan, device=device),
    )


def _join(slots: _Slots | None, fresh: _Slots) -> _Slots:
    if slots is None:
        return fresh
    return _Slots(
        **{name: torch.cat((getattr(slots, name), value)) for name, value in vars(fresh).items()}
    )


def _step(classifier: Classifier, slots: _Slots, ascent: Ascent) -> Tensor:
    """One gradient evaluation of every slot; returns which searches are done."""
    domain = classifier.domain
    x = slots.x.detach().requires_grad_()  # a fresh leaf on the same storage
    valid = domain.project_(x.clone()) if ascent.constraint == "clamp" else x
    margin = margins(classifier(valid), slots.label)
    gradient = None
    if margin.requires_grad:
        (gradient,) = torch.autograd.grad(margin.sum(), x, allow_unused=True)
    if gradient is None:
        raise NotEvaluable("no gradient reaches the input: the model is not differentiable")
    x, margin = slots.x, margin.detach()
    if not bool(torch.isfinite(margin).all()):
        row = int((~torch.isfinite(margin)).nonzero()[0])
        raise NotEvaluable(
            f"the margin of class {int(slots.label[row])} became {float(margin[row])}"
        )
    slots.curve.scatter_(1, slots.step.long()[:, None], margin[:, None])
    previous = slots.curve.gather(1, (slots.step.long() - 1).clamp_min(0)[:, None])[:, 0]
    moved = (margin - previous).abs() > ascent.tolerance * previous.abs().clamp_min(1e-12)
    slots.calm = torch.where(moved | (slots.step == 0), 0, slots.calm + 1)
    better = margin > slots.best
    slots.best = torch.where(better, margin, slots.best)
    if bool(better.all()):
        slots.best_x.copy_(valid.detach())
    else:
        slots.best_x[better] = valid.detach()[better]
    fresh = slots.step == 0
    if bool(fresh.any()):
        slots.dead |= fresh & (gradient.abs().amax(tuple(range(1, x.dim()))) == 0)
    sizes = ascent.sizes(slots.step).reshape(-1, *[1] * (x.dim() - 1))
    direction = ascent.direction(gradient, domain)
    if ascent.momentum:
        direction = slots.velocity.mul_(ascent.momentum).add_(direction)
    x.addcmul_(direction, sizes)
    if ascent.constraint == "project":
        domain.project_(x)
    slots.step += 1
    return (slots.step >= ascent.steps) | (slots.calm >= ascent.patience)


def _result(slots: _Slots, row: int, ascent: Ascent) -> Finished:
    steps = int(slots.step[row])
    return Finished(
        label=int(slots.label[row]),
        restart=int(slots.restart[row]),
        margin=float(slots.best[row]),
        input=slots.best_x[row].cpu().contiguous(),
        curve=slots.curve[row, :steps].cpu(),
        steps=steps,
        converged=bool(slots.calm[row] >= ascent.patience),
        dead=bool(slots.dead[row]),
    )


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )
