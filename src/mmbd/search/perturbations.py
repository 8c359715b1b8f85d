"""Universal perturbations: one small change of all inputs that takes them to one class.

A backdoor is such a change by construction, and a classifier without one resists until the change
is large (Moosavi-Dezfooli et al. 2017 describe the general kind). `KINDS` has a row for every kind
of change; `universal` searches for them with clean samples, `universal_data_free` without.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.model.domain import Domain, kind_of
from mmbd.model.samples import Samples
from mmbd.search.pool import margins

# A sparse perturbation has this many places at least: one alone may be one that training never
# used, such as a corner of every digit, where a clean network can do anything.
LEAST_PLACES = 4
FLOW_GRID = 4  # a flow is given at 4x4 points and is smooth between them
MOMENTUM = 0.8  # the share of the earlier directions that a step by worth keeps
Network = Callable[[Tensor], Tensor]


def places(domain: Domain) -> int:
    """How many places an input has: pixels, samples of a sound, points, or elements of a vector."""
    shape = domain.shape
    return math.prod(shape if kind_of(domain) == "vector" else shape[1:])


def sparse(directions: Tensor, domain: Domain, count: int) -> Tensor:
    """Perturbations (batch, *shape) as far as the domain goes, in the places of most worth.

    Args:
        directions: which way to go, and how much an element is worth there, (batch, *shape).
        domain: of the inputs; after adding, project.
        count: of places that change, all where there are not so many.
    """
    extent = domain.extent.to(directions)
    worth = (directions * extent).abs()
    if directions.dim() > 2:  # a place has all the channels, or coordinates
        worth = worth.sum(1, keepdim=True)
    flat = worth.flatten(1)
    best = flat.topk(min(count, flat.shape[1])).indices
    return directions.sign() * extent * torch.zeros_like(flat).scatter_(1, best, 1).view_as(worth)


def flowed(images: Tensor, flows: Tensor) -> Tensor:
    """Images (batch, channels, height, width) sampled where flows (batch, 2, 4, 4) point to.

    Flows are in pixels: how far to the right, and how far down, a pixel's value is taken from.
    """
    height, width = images.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, side, device=images.device) for side in (height, width))
    still = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    dense = F.interpolate(flows, size=(height, width), mode="bicubic", align_corners=True)
    pixels = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], device=images.device)
    where = (still + dense.permute(0, 2, 3, 1) * pixels).clamp(-1, 1)
    return F.grid_sample(images, where, align_corners=True)


@dataclass(frozen=True)
class Kind:
    """How perturbations of one kind change inputs, and how large they may be.

    Args:
        noun: what a perturbation of this kind is, for a person.
        radii: the first and the last radius that a search with samples tries, for a domain.
        room: how much the radius grows once the easiest classes are known. A flow that takes
            samples to a warp's target may be a much smaller one than the warp.
        moved: inputs (batch, *shape) and a change for each to changed inputs, not projected yet.
        possible: whether inputs of a domain can be changed so.
        shape: of one perturbation's values, for a domain.
        unit: what one unit of the radius is, element by element, for a domain.
        pick: makes changes of values, a domain and a radius where the values are not the changes
            but say what every element is worth: those of most worth change.
    """

    noun: str
    radii: Callable[[Domain], tuple[float, float]]
    room: float = 1.2
    moved: Callable[[Tensor, Tensor], Tensor] = torch.add
    possible: Callable[[Domain], bool] = lambda _: True
    shape: Callable[[Domain], tuple[int, ...]] = lambda domain: domain.shape
    unit: Callable[[Domain], Tensor] = lambda _: torch.ones(())
    pick: Callable[[Tensor, Domain, int], Tensor] | None = None


def _radii_added(domain: Domain) -> tuple[float, float]:
    size = math.sqrt(math.prod(domain.shape) / 3072)
    return 0.15 * size, 2.0 * size


def _radii_sparse(domain: Domain) -> tuple[float, float]:
    count = places(domain)
    return max(LEAST_PLACES, 0.004 * count), max(LEAST_PLACES, 0.03 * count)


def _radii_flow(domain: Domain) -> tuple[float, float]:
    side = min(domain.shape[1:])
    return 0.025 * side, 0.25 * side


KINDS: dict[str, Kind] = {
    "added": Kind("change", _radii_added, unit=lambda domain: domain.extent),
    "sparse": Kind("change in few places", _radii_sparse, pick=sparse),
    "flow": Kind(
        "warp",
        _radii_flow,
        room=1.5,
        moved=flowed,
        possible=lambda domain: kind_of(domain) == "image" and min(domain.shape[1:]) >= 2 * FLOW_GRID,
        shape=lambda _: (2, FLOW_GRID, FLOW_GRID),
    ),
}


def possible_kinds(domain: Domain) -> tuple[str, ...]:
    """The names in `KINDS` of the perturbations that inputs of this domain can have."""
    return tuple(name for name, kind in KINDS.items() if kind.possible(domain))


@dataclass(frozen=True)
class Perturbations:
    """One perturbation for each of some classes, (classes, ...), all of size <= `radius`.

    Args:
        kind: a name in `KINDS`.
        targets: (classes,) the class that each takes inputs to.
        values: (classes, *shape) in the inputs' units; (classes, 2, 4, 4) in pixels for a flow; for
            a sparse one what every element is worth, by sign and size, (classes, *shape).
        radius: L2 norm of `values` in units of the domain's extent, or in pixels; the number of
            places that a sparse one changes.
        success: (classes,) the share of samples of other classes that each was seen to take there.
    """

    kind: str
    domain: Domain
    targets: Tensor
    values: Tensor
    radius: float
    success: Tensor

    @classmethod
    def drawn(
        cls, kind: str, domain: Domain, targets: Tensor, radius: float, generator: torch.Generator
    ) -> Perturbations:
        """Perturbations of a fifth of the radius in random directions, where `targets` lie."""
        row, count = KINDS[kind], len(targets)
        noise = torch.randn(count, *row.shape(domain), generator=generator)
        values = _within(noise * 1e6, 0.2 * radius) * row.unit(domain)  # from so far away, on the sphere
        device = targets.device
        return cls(kind, domain, targets, values.to(device), radius, torch.zeros(count).to(device))

    def __call__(self, inputs: Tensor, which: Tensor, values: Tensor | None = None) -> Tensor:
        """`inputs` (batch, *shape), each with the perturbation at `which` (batch,) of `values`."""
        kind, chosen = KINDS[self.kind], (self.values if values is None else values)[which]
        if kind.pick is not None:  # the gradient is as if all of the values were added
            chosen = chosen + (kind.pick(chosen, self.domain, round(self.radius)) - chosen).detach()
        moved = kind.moved(inputs, chosen)
        valid = self.domain.project_(moved.detach().clone())
        return moved + (valid - moved).detach()  # the gradient passes the projection

    def ascended(
        self, network: Network, inputs: Tensor, which: Tensor, step: float, batch: int | None = None
    ) -> Perturbations:
        """After one step of normalised gradient ascent on the margins of the targets.

        Inputs that have given way count little, so that the rest decides the direction. At most `batch`
        inputs go through the network at a time, all by default.
        """
        kind, values = KINDS[self.kind], self.values.detach().requires_grad_()
        gradient = torch.zeros_like(self.values)
        for part in torch.arange(len(inputs), device=inputs.device).split(batch or len(inputs)):
            logits = network(self(inputs[part], which[part], values))
            gains = -F.softplus(-margins(logits, self.targets[which[part]])).sum()
            gradient += torch.autograd.grad(gains, values)[0]
        norms = _like(gradient.flatten(1).norm(dim=1).clamp_min(1e-12), gradient)
        if kind.pick is not None:
            return replace(self, values=MOMENTUM * self.values + gradient / norms)
        unit = kind.unit(self.domain).to(self.values.device)
        moved = self.values + step * self.radius * unit * gradient / norms
        return replace(self, values=_within(moved / unit, self.radius) * unit)

    def rates(self, network: Network, samples: Samples, batch: int = 200) -> Tensor:
        """(classes,) the share of `samples` of other classes that each takes to its target."""
        tops = samples.logits.argmax(1)
        found: list[Tensor] = []
        with torch.no_grad():
            for row, target in enumerate(self.targets.tolist()):
                others = samples.inputs[tops != target]
                hits = [
                    network(self(part, torch.full((len(part),), row))).argmax(1) == target
                    for part in others.split(batch)
                    if len(part)  # an empty tensor has one part too
                ]
                found.append(torch.cat(hits).float().mean() if hits else torch.tensor(0.0))
        return torch.stack(found)

    def only(self, rows: Tensor) -> Perturbations:
        """The perturbations at these rows."""
        return replace(self, targets=self.targets[rows], values=self.values[rows], success=self.success[rows])


def _within(values: Tensor, radius: float) -> Tensor:
    """The values, those that are longer than the radius shortened to it."""
    norms = values.flatten(1).norm(dim=1).clamp_min(1e-12)
    return values * _like((radius / norms).clamp(max=1), values)


def _like(values: Tensor, other: Tensor) -> Tensor:
    """`values` (rows,) with the axes of `other` (rows, ...), to multiply it with."""
    return values.reshape(-1, *[1] * (other.dim() - 1))
