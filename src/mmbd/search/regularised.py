"""Masks and patterns with the regularisers of TABOR (Guo et al. 2020), on the search of `mask_pattern`.

With a mask M, a pattern D and clean images x, four terms join the loss of the stamped images:
R1 the size of M and of (1 - M) D, R2 how rough both are, R3 the loss of (1 - M) x with the images' own
classes, and R4 the loss of M D alone with the class searched for. As R1 and R2 hold (1 - M) D, they
drive the pattern to black where the mask does not use it. All is in pixels from 0, black, to 255.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.search.cost_schedule import CostSchedule
from mmbd.search.mask_pattern import Candidates, Problem, weights
from mmbd.search.slopes import cross_entropy, gradients
from mmbd.search.stamping import box, channels_first, pulled, stamped

BRIGHTEST = 255.0  # what the weights of the regularisers were made for
# In adaptive searches: the weights at the start; terms beyond these sizes have theirs doubled after a
# pass of this success, and all are halved after one of less than the other.
FIRST = 1e-4
LARGE = (1000.0, 1000.0, 1000.0, 1000.0, 10.0, 10.0)
DOUBLED, HALVED = 0.95, 0.90


@dataclass
class RegularisedSchedule:
    """Neural Cleanse's schedule for the mask's norm, and weights of the terms that may follow these.

    Args:
        costs: of the mask's L1 norm.
        terms: the weights of R1 of the mask and of the pattern, of R2 of the two, of R3 and of R4.
        adaptive: whether `terms` that are not zero start at 1e-4 and are doubled and halved.
    """

    costs: CostSchedule
    terms: tuple[float, ...]
    adaptive: bool = False
    sums: list[float] = field(default_factory=lambda: [0.0] * len(LARGE))
    parts: int = 0

    def __post_init__(self) -> None:
        if self.adaptive:
            self.terms = tuple(FIRST if term else 0.0 for term in self.terms)

    @property
    def weights(self) -> tuple[float, ...]:
        """The cost, and the weights of the six terms."""
        return (*self.costs.weights, *self.terms)

    def felt(self, terms: list[float]) -> None:
        """Hear the sizes of the six terms in a step, without their weights."""
        self.sums = [one + other for one, other in zip(self.sums, terms, strict=True)]
        self.parts += 1

    def after(self, success: float, norm: float) -> tuple[bool, bool]:
        """Whether the search is done after this pass, and whether its mask is the best so far."""
        if self.adaptive and self.parts:
            sizes = [one / self.parts for one in self.sums]
            self.sums, self.parts = [0.0] * len(LARGE), 0
            if success > DOUBLED:
                pairs = zip(self.terms, sizes, LARGE, strict=True)
                self.terms = tuple(term * (2 if size > most else 1) for term, size, most in pairs)
            elif success < HALVED:
                self.terms = tuple(term / 2 for term in self.terms)
        return self.costs.after(success, norm)


@dataclass(frozen=True)
class RegularisedProblem(Problem):
    """The objective of TABOR; see this module.

    Args:
        blank: whether R3 is computed at all, with the samples' labels.
        tell: whether schedules want to hear the sizes of the terms.
    """

    blank: bool = False
    tell: bool = False

    @property
    def each(self) -> int:
        """Images that go through the network in a step of a row."""
        return super().each * (2 if self.blank else 1) + 1

    def loss(
        self, rows: Candidates, places: Tensor, labels: Tensor, mask: Tensor, pattern: Tensor
    ) -> tuple[Tensor, Tensor]:
        images, count = self.at(places), places.shape[1]
        low, extent = box(self.classifier.domain, mask)
        black = low.expand_as(pattern)
        share = weights(rows, mask)
        own = labels[:, None]
        wanted = [own.expand(-1, count), own]
        with torch.no_grad():
            shown = [stamped(images, mask, pattern), stamped(black[:, None], mask, pattern)]
            scale = [share.new_full((len(labels), count), 1 / count), share[:, 6:7]]
            if self.blank:
                shown.append(stamped(images, mask, black))
                wanted.append(self.samples.labels[places])
                scale.append((share[:, 5:6] / count).expand(-1, count))
        lengths = [one.shape[1] for one in shown]
        classes = torch.cat(wanted, 1)
        logits, found = gradients(
            self.classifier,
            channels_first(torch.cat(shown, 1).flatten(0, 1)),
            classes.flatten(),
            cross_entropy,
            chunk=self.chunk,
        )
        logits = logits.unflatten(0, classes.shape)
        found = found.movedim(1, -1).unflatten(0, classes.shape)
        found = found * torch.cat(scale, 1).view(*classes.shape, *[1] * (found.dim() - 2))
        parts = found.split(lengths, 1)
        total = pulled(parts[0], images, mask, pattern)
        total = total + pulled(parts[1], black[:, None], mask, pattern)
        if self.blank:
            total = total + pulled(parts[2], images, mask, black)
        sizes = self.sizes(mask, (1 - mask) * ((pattern - low) * (BRIGHTEST / extent)))
        if self.tell:
            self._tell(rows, sizes, logits, classes, lengths)
        total = total + (share[:, 1:5] * sizes).sum() + self.penalty(rows, mask, pattern)
        return total, logits[:, :count].argmax(2) == own

    def sizes(self, mask: Tensor, unused: Tensor) -> Tensor:
        """(rows, 4): R1 of masks (rows, *places, 1) and of unused patterns, and R2 of both."""
        return torch.stack((size(mask), size(unused), roughness(mask), roughness(unused)), 1)

    def _tell(
        self, rows: Candidates, sizes: Tensor, logits: Tensor, classes: Tensor, lengths: list[int]
    ) -> None:
        losses = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
        _, alone, *blanked = (part.mean(1) for part in losses.view_as(classes).split(lengths, 1))
        r3 = blanked[0] if blanked else torch.zeros_like(alone)
        terms = torch.cat((sizes.detach(), r3[:, None], alone[:, None]), 1).tolist()
        for one, felt in zip(rows.search, terms, strict=True):
            one.schedule.felt(felt)


def size(values: Tensor) -> Tensor:
    """The sum and the Euclidean norm of values (rows, ...) that are not negative, (rows,)."""
    flat = values.flatten(1)
    return flat.sum(1) + torch.linalg.vector_norm(flat, dim=1)


def roughness(values: Tensor) -> Tensor:
    """The squared differences of neighbours in values (rows, *places, channels), summed: (rows,)."""
    total = values.new_zeros(len(values))
    for axis in range(1, values.dim() - 1):
        total = total + values.diff(dim=axis).square().flatten(1).sum(1)
    return total
