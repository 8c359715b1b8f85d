"""Made-up inputs that a classifier takes for its own: what universal perturbations are tried on.

A trigger takes convincing inputs out of their class; those that have only just fallen into one leave it
for anything. So `MADE_UP` has three kinds. `firm` ones are smooth noise that was moved into a class and
then some way further. `smooth` ones were made the same way and hold no fine noise that a warp or a blur
could destroy. `scenes` are drawn, without any optimisation: pictures of dead leaves (Lee, Mumford and
Huang 2001), sounds of chirps, clicks and harmonics, clouds of solids. Every input depends on (seed,
number) and the classifier alone. Settings are own choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.base.choose import unknown
from mmbd.base.errors import TooFewInputs
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Domain, kind_of
from mmbd.model.domain import smooth as smooth_noise
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.search import memory, slopes
from mmbd.search.ascent import Ascent
from mmbd.search.pool import margins
from mmbd.search.scenes import DRAWN

GRID, SIDE, LEAST_GRID = 10, 32, 4  # a smooth picture of 32 x 32 has 10 x 10 values, and so has a larger one
SOUND_GRID = 4  # a smooth sound has one for so many samples: faster changes are left out


@dataclass(frozen=True)
class MadeUp:
    """Made-up inputs, with what the classifier says of them.

    Attributes:
        samples: inputs (n, *shape), on the classifier's device; labels are the classifier's own answers.
        tried: how many were begun or drawn; those that did not reach their class, or were more of one
            class than asked for, are left out.
        evaluations: gradient evaluations, one an input.
    """

    samples: Samples
    tried: int
    evaluations: int


@dataclass(frozen=True)
class Kind:
    """A row of `MADE_UP`.

    Args:
        make: function(classifier, count, *, seed, batch, **settings) -> MadeUp.
        possible: whether there are such inputs of a domain.
    """

    make: Callable[..., MadeUp]
    possible: Callable[[Domain], bool]


def made_up(
    kind: str, classifier: Classifier, count: int, *, seed: int, batch: int | None = None, **settings: float
) -> MadeUp:
    """Made-up inputs of a kind; a smaller number of the same seed are the first of a larger one.

    Args:
        kind: a name in `MADE_UP`.
        classifier: frozen by the caller.
        count: inputs to begin (`firm`, `smooth`), or to have at most (`scenes`).
        seed: of everything random.
        batch: the most inputs at a time; by default what the device is quick with.
        settings: of the kind, see `firm`, `smooth` and `scenes`.

    Raises:
        ValueError: no such kind, or there are no such inputs of the classifier's domain.
        TooFewInputs: not one input was made.
        NotEvaluable: no gradient reaches them, or logits are not finite.
        Failed: memory runs out with a single input.
    """
    if kind not in MADE_UP:
        raise ValueError(unknown("kind of made-up inputs", kind, MADE_UP))
    row, domain = MADE_UP[kind], classifier.domain
    if not row.possible(domain):
        raise ValueError(f"there are no made-up inputs of the kind {kind} for {domain!r}")
    if count < 1:
        raise ValueError(f"at least one made-up input is needed, got {count}")
    size = batch or memory.quick_batch(classifier)
    made = row.make(classifier, count, seed=seed, batch=memory.BatchSize(size), **settings)
    if not len(made.samples.labels):
        raise TooFewInputs(f"none of {made.tried} made-up inputs of the kind {kind} came into a class")
    return made


def firm(
    classifier: Classifier,
    count: int,
    *,
    seed: int,
    batch: memory.BatchSize,
    settling: int = 40,
    further: int = 20,
    stride: float = 0.01,
) -> MadeUp:
    """Smooth noise (clouds: solids) moved into its class, and then further.

    Args:
        classifier: see `made_up`, as for the next three.
        count: of inputs.
        seed: of everything random.
        batch: the most inputs at a time.
        settling: the most steps to the class.
        further: steps after that one in which it was reached.
        stride: the root mean square of a step, in extents an element.
    """
    labels = _classes(classifier, count, seed)
    rule = Ascent(restarts=1, steps=1, rule="l2", size=stride)
    x = torch.stack([_start(classifier.domain, seed, number) for number in range(count)])
    x = x.to(classifier.device, torch.float32)
    left = torch.full((count,), settling + further, device=x.device)
    best, highest, evaluations = x.clone(), torch.full((count,), -torch.inf, device=x.device), 0
    while bool((left > 0).any()):
        rows = (left > 0).nonzero()[:, 0]
        logits, gradient = _gradients(classifier, x[rows], labels[rows], batch)
        evaluations += len(rows)
        margin = margins(logits, labels[rows])
        better = margin > highest[rows]
        best[rows[better]], highest[rows[better]] = x[rows[better]], margin[better]
        # Those that have just come in have `further` steps left; those that have not by then, none.
        inside = (highest[rows] > 0) & (left[rows] > further)
        left[rows] = torch.where(inside, further, left[rows] - 1)
        left[rows] = torch.where(~inside & (highest[rows] <= 0) & (left[rows] <= further), 0, left[rows])
        x[rows] = classifier.domain.project_(x[rows] + stride * rule.direction(gradient, classifier.domain))
    return _reached(classifier, best, highest > 0, evaluations)


def smooth(
    classifier: Classifier,
    count: int,
    *,
    seed: int,
    batch: memory.BatchSize,
    steps: int = 60,
    stride: float = 0.15,
) -> MadeUp:
    """A few unknowns, squashed into the box and enlarged bicubically, that climb their class's margin.

    Args:
        classifier: see `made_up`, as for the next three.
        count: of inputs.
        seed: of everything random.
        batch: the most inputs at a time.
        steps: of normalised ascent.
        stride: the root mean square of a step of the unknowns, which begin as standard normal numbers.
    """
    domain, labels = classifier.domain, _classes(classifier, count, seed)
    shape = (domain.shape[0], *_grid(domain))
    drawn = [torch.randn(shape, generator=generator_for("smooth inputs", seed, n)) for n in range(count)]
    unknown_, evaluations = torch.stack(drawn).to(classifier.device), 0
    best = torch.empty((count, *domain.shape), device=unknown_.device)
    highest = torch.full((count,), -torch.inf, device=unknown_.device)
    for _ in range(steps):
        free = unknown_.detach().requires_grad_()
        x = _enlarged(free, domain)
        logits, gradient = _gradients(classifier, x.detach(), labels, batch)
        evaluations += count
        margin = margins(logits, labels)
        better = margin > highest
        best[better], highest = x.detach()[better], torch.where(better, margin, highest)
        (slope,) = torch.autograd.grad(x, free, gradient)
        norm = slope.flatten(1).square().mean(1).sqrt().clamp_min(1e-20)
        unknown_ = unknown_ + stride * slope / norm.view(-1, *[1] * (slope.dim() - 1))
    return _reached(classifier, best, highest > 0, evaluations)


def scenes(
    classifier: Classifier, count: int, *, seed: int, batch: memory.BatchSize, most: int = 16, draws: int = 20
) -> MadeUp:
    """Drawn inputs, at most some of each class that the classifier puts them into.

    Args:
        classifier: see `made_up`, as for the next three.
        count: of inputs.
        seed: of everything random.
        batch: the most inputs at a time.
        most: of every class.
        draws: how many are drawn for each that is asked for before the search for further ones ends.
    """
    domain, device = classifier.domain, classifier.device
    draw = DRAWN[kind_of(domain)]
    kept: list[Tensor] = []
    answers: list[Tensor] = []
    held, drawn, have = torch.zeros(classifier.classes, dtype=torch.long), 0, 0
    while have < count and drawn < draws * count:
        numbers = range(drawn, drawn + max(count, 64))  # of how many at a time nothing depends
        x = draw(domain, seed, numbers).to(device)
        logits = batch.run(lambda x=x: logits_of(classifier, x, batch=batch.size))
        for place, label in enumerate(logits.argmax(1).tolist()):
            if held[label] < most and have < count:
                kept.append(x[place])
                answers.append(logits[place])
                held[label] += 1
                have += 1
        drawn += len(numbers)
    inputs, logits = torch.stack(kept), torch.stack(answers)
    return MadeUp(Samples(inputs, logits.argmax(1), logits, own=True), drawn, 0)


def _gradients(
    classifier: Classifier, x: Tensor, labels: Tensor, batch: memory.BatchSize
) -> tuple[Tensor, Tensor]:
    def step() -> tuple[Tensor, Tensor]:
        return slopes.gradients(classifier, x, labels, slopes.margin, chunk=batch.size)

    return batch.run(step)


def _classes(classifier: Classifier, count: int, seed: int) -> Tensor:
    """The class that each input is to come into: all in turn, in random order."""
    order = torch.randperm(classifier.classes, generator=generator_for("made-up classes", seed))
    return order[torch.arange(count) % classifier.classes].to(classifier.device)


def _start(domain: Domain, seed: int, number: int) -> Tensor:
    if kind_of(domain) == "points":
        return DRAWN["points"](domain, seed, range(number, number + 1))[0]
    return smooth_noise(domain, generator_for("firm inputs", seed, number))


def _grid(domain: Domain) -> tuple[int, ...]:
    """How many unknowns there are along each axis."""
    if kind_of(domain) == "sound":
        return (min(domain.shape[1], max(GRID, domain.shape[1] // SOUND_GRID)),)
    return tuple(min(side, GRID, max(LEAST_GRID, side * GRID // SIDE)) for side in domain.shape[1:])


def _enlarged(free: Tensor, domain: Domain) -> Tensor:
    """Unknowns (n, channels, ...) as inputs (n, *shape) of the box; gradients pass."""
    bounds = domain.bounds or (0.0, 1.0)
    low = getattr(domain, "low", torch.tensor(bounds[0])).to(free.device)
    squashed = free.sigmoid()
    flat = squashed if squashed.dim() == 4 else squashed[:, :, None]
    size = domain.shape[1:] if squashed.dim() == 4 else (1, *domain.shape[1:])
    large = F.interpolate(flat, size=size, mode="bicubic", align_corners=False).view(-1, *domain.shape)
    return low + domain.extent.to(free.device) * large.clamp(0, 1)


def _reached(classifier: Classifier, x: Tensor, reached: Tensor, evaluations: int) -> MadeUp:
    """Those inputs that came into their class; the others say nothing."""
    inputs = x[reached]
    logits = logits_of(classifier, inputs) if len(inputs) else inputs.new_zeros(0, classifier.classes)
    return MadeUp(Samples(inputs, logits.argmax(1), logits, own=True), len(x), evaluations)


def _is(*kinds: str) -> Callable[[Domain], bool]:
    return lambda domain: kind_of(domain) in kinds


MADE_UP: dict[str, Kind] = {
    "firm": Kind(firm, lambda _: True),
    "smooth": Kind(smooth, _is("image", "sound")),
    "scenes": Kind(scenes, _is(*DRAWN)),
}
