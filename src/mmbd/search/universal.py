"""Universal perturbations: one small change for all samples that takes them to one class.

A backdoor is such a change by construction, and a classifier without one resists until the change
is large (Moosavi-Dezfooli et al. 2017 describe the general kind). Starting small and growing until
the easiest class gives way, `find` therefore meets something close to the trigger first, whatever
the trigger is; what it finds is what the bounds and the weights are then tuned against.

Three kinds: `added` to the input, `sparse` in few places but as far as the domain goes (patches),
and, for images, a `flow` that moves pixels (warping triggers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.domain import Domain, kind_of
from mmbd.model.samples import Samples
from mmbd.search.pool import margins
from mmbd.search.sparse import LEAST_PLACES, places, sparse

GRID = 4  # a flow is given at 4x4 points and is smooth between them
# How much more room the suspects get: a flow that takes samples to a warp's target may be a much
# smaller one than the warp.
WIDER = {"added": 1.2, "sparse": 1.2, "flow": 1.5}
KEPT = 0.8  # of the earlier directions of a sparse perturbation, a step
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Universal:
    """One perturbation for each of some classes, (classes, ...), all of size <= `radius`.

    Args:
        kind: "added", "sparse" or "flow".
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

    def __call__(self, inputs: Tensor, which: Tensor, values: Tensor | None = None) -> Tensor:
        """`inputs` (batch, *shape), each with the perturbation at `which` (batch,) of `values`."""
        chosen = (self.values if values is None else values)[which]
        if self.kind == "sparse":  # the gradient is as if all of the values were added
            chosen = chosen + (sparse(chosen, self.domain, round(self.radius)) - chosen).detach()
        moved = _flowed(inputs, chosen) if self.kind == "flow" else inputs + chosen
        valid = self.domain.project_(moved.detach().clone())
        return moved + (valid - moved).detach()  # the gradient passes the projection

    def ascended(self, network: Network, inputs: Tensor, which: Tensor, step: float) -> Universal:
        """After one step of normalised gradient ascent on the margins of the targets.

        Inputs that have given way count little, so that the rest decides the direction.
        """
        values = self.values.detach().requires_grad_()
        logits = network(self(inputs, which, values))
        gains = -F.softplus(-margins(logits, self.targets[which])).sum()
        (gradient,) = torch.autograd.grad(gains, values)
        norms = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        if self.kind == "sparse":
            return replace(self, values=KEPT * self.values + gradient / _like(norms, gradient))
        moved = self.values + step * self.radius * self._scale() * gradient / _like(norms, gradient)
        return replace(self, values=_shrunk(moved / self._scale(), self.radius) * self._scale())

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

    def only(self, rows: Tensor) -> Universal:
        """Those of some classes."""
        return replace(self, targets=self.targets[rows], values=self.values[rows], success=self.success[rows])

    def _scale(self) -> Tensor:
        """What one unit of the radius is, element by element."""
        return self.domain.extent.to(self.values.device) if self.kind == "added" else torch.ones(())


def kinds(domain: Domain) -> tuple[str, ...]:
    """Which perturbations inputs of this domain can have."""
    shape = domain.shape
    image = kind_of(domain) == "image" and min(shape[1:]) >= 2 * GRID
    return ("added", "sparse", "flow") if image else ("added", "sparse")


def find(
    classifier: Classifier,
    samples: Samples,
    kind: str,
    *,
    generator: torch.Generator,
    targets: Sequence[int] | None = None,
    start: float | None = None,
    growth: float = 1.12,
    largest: float | None = None,
    enough: float = 0.8,
    steps: int = 24,
    settle: int = 4,
    step: float = 0.3,
    batch: int = 100,
) -> Universal:
    """The smallest perturbation of each class at which the easiest class gives way.

    The radius is the same for all classes and grows by `growth` a step while none takes `enough` of
    the samples to its target; `settle` steps follow.

    Args:
        classifier: the network under attack, frozen.
        samples: clean ones.
        kind: one of `kinds`.
        generator: of the random starts and the order of the samples.
        targets: the classes to try; all by default.
        start: the first radius, in units of the domain's extent, pixels or places. By default what
            suits 3x32x32 images, 0.15, times the root of the number of elements over 3072; for a
            flow 0.025 of the image's side; for a sparse one 0.4 % of the places, at least 4.
        growth: of the radius, a step.
        largest: the last radius; by default about ten times the first.
        enough: the success of the easiest class that ends the growth.
        settle: steps that follow.
        steps: at most so many, each of one gradient evaluation for `batch` samples, and 4 a class.
        step: the length of a step, in units of the radius.
        batch: samples a step.
    """
    domain = classifier.domain
    labels = torch.tensor(range(classifier.classes) if targets is None else list(targets))
    count = len(labels)
    least, most = _radii(domain, kind)
    radius, most = least if start is None else start, most if largest is None else largest
    shape = (2, GRID, GRID) if kind == "flow" else domain.shape
    drawn = torch.randn(count, *shape, generator=generator)
    unit = domain.extent if kind == "added" else torch.ones(())
    values = _shrunk(drawn * 1e6, 0.2 * radius) * unit  # on the sphere
    device = samples.inputs.device
    found = Universal(
        kind, domain, labels.to(device), values.to(device), radius, torch.zeros(count).to(device)
    )
    tops, settled = samples.logits.argmax(1), 0
    size = min(max(batch, 4 * count), len(samples.inputs))
    for done in range(steps):
        indices = torch.randperm(len(samples.inputs), generator=generator)[:size].to(device)
        which = torch.arange(size, device=device) % count
        inputs = samples.inputs[indices]
        found = found.ascended(classifier, inputs, which, step)
        with torch.no_grad():
            went = classifier(found(inputs, which)).argmax(1) == found.targets[which]
        others = tops[indices] != found.targets[which]
        seen = _means((went & others).float(), others.float(), which, count)
        found = replace(found, success=0.5 * found.success + 0.5 * seen)
        if done < settle:
            continue
        if float(found.success.max()) >= enough:
            settled += 1
            if settled >= settle:
                break
        else:
            found = replace(found, radius=min(found.radius * growth, most))
    return found


def suspects(found: Universal, share: float = 0.5) -> Universal:
    """Those classes whose success is at least `share` of the easiest one's.

    Their radius grows, by `WIDER`, so that the next steps have room.
    """
    chosen = found.only((found.success >= share * found.success.max()).nonzero().flatten())
    return replace(chosen, radius=WIDER[chosen.kind] * chosen.radius)


class Pursuit:
    """Universal perturbations that follow a network while it is being repaired.

    Args:
        classifier, samples: the network as it was, frozen, and clean samples.
        perturbations: the kinds, some of `kinds`; those that the inputs cannot have are left out.
        generator: of everything random.
        step: the length of a step, in units of the radius.
    """

    def __init__(
        self,
        classifier: Classifier,
        samples: Samples,
        perturbations: Sequence[str],
        generator: torch.Generator,
        step: float = 0.3,
    ) -> None:
        possible = [kind for kind in perturbations if kind in kinds(classifier.domain)]
        self.first = [suspects(find(classifier, samples, kind, generator=generator)) for kind in possible]
        self.now = list(self.first)
        self.step = step

    def perturbed(self, network: Network, inputs: Tensor) -> list[Tensor]:
        """`inputs` with perturbations that have taken a step against `network`; one of each kind.

        The suspected classes take turns among the inputs.
        """
        moved: list[Tensor] = []
        for place, found in enumerate(self.now):
            which = torch.arange(len(inputs), device=inputs.device) % len(found.targets)
            self.now[place] = found.ascended(network, inputs, which, self.step)
            moved.append(self.now[place](inputs, which).detach())
        return moved

    def outcome(self, before: Network, after: Network, samples: Samples) -> list[dict[str, Any]]:
        """What each perturbation achieves against `before`, as it was first found, and now.

        `after` is the repaired network, to which the perturbations have adapted by now.
        """
        return [
            {"kind": first.kind, "target": target, "radius": first.radius, "before": was, "after": found}
            for first, now in zip(self.first, self.now, strict=True)
            for target, was, found in zip(
                first.targets.tolist(),
                first.rates(before, samples).tolist(),
                now.rates(after, samples).tolist(),
                strict=True,
            )
        ]


def _radii(domain: Domain, kind: str) -> tuple[float, float]:
    if kind == "added":
        size = math.sqrt(math.prod(domain.shape) / 3072)
        return 0.15 * size, 2.0 * size
    if kind == "sparse":
        count = places(domain)
        return max(LEAST_PLACES, 0.004 * count), max(LEAST_PLACES, 0.03 * count)
    side = min(domain.shape[1:])
    return 0.025 * side, 0.25 * side


def _means(values: Tensor, weights: Tensor, which: Tensor, count: int) -> Tensor:
    """Sums of `values` over sums of `weights`, by group; zero for a group without weight."""
    zeros = torch.zeros(count, device=values.device)
    sums = zeros.index_add(0, which, values)
    return sums / zeros.index_add(0, which, weights).clamp_min(1)


def _shrunk(values: Tensor, radius: float) -> Tensor:
    norms = values.flatten(1).norm(dim=1).clamp_min(1e-12)
    return values * _like((radius / norms).clamp(max=1), values)


def _like(values: Tensor, other: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (other.dim() - 1))


def _flowed(images: Tensor, flows: Tensor) -> Tensor:
    """Images (batch, channels, height, width) sampled where flows (batch, 2, 4, 4) point to."""
    height, width = images.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, side, device=images.device) for side in (height, width))
    still = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    dense = F.interpolate(flows, size=(height, width), mode="bicubic", align_corners=True)
    pixels = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], device=images.device)
    where = (still + dense.permute(0, 2, 3, 1) * pixels).clamp(-1, 1)
    return F.grid_sample(images, where, align_corners=True)
