"""Universal perturbations found with clean samples, and those that adapt to a repair.

Starting small and growing until the easiest class gives way, `find` meets something close to a
backdoor's trigger first, whatever the trigger is; what it finds is what the bounds and the weights
are then tuned against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.perturbations import KINDS, Network, Perturbations, possible_kinds


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
) -> Perturbations:
    """The smallest perturbation of each class at which the easiest class gives way.

    The radius is the same for all classes and grows by `growth` a step while none takes `enough` of
    the samples to its target; `settle` steps follow.

    Args:
        classifier: the network under attack, frozen.
        samples: clean ones.
        kind: a name in `perturbations.KINDS` that is possible for the classifier's inputs.
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
    labels = torch.tensor(range(classifier.classes) if targets is None else list(targets))
    count, device = len(labels), samples.inputs.device
    least, most = KINDS[kind].radii(classifier.domain)
    radius, most = least if start is None else start, most if largest is None else largest
    found = Perturbations.drawn(kind, classifier.domain, labels.to(device), radius, generator)
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


def easiest_classes(found: Perturbations, share: float = 0.5) -> Perturbations:
    """The perturbations to classes whose success is at least `share` of the easiest one's.

    Their radius grows by the kind's `room`, so that the next steps can go further.
    """
    chosen = found.only((found.success >= share * found.success.max()).nonzero().flatten())
    return replace(chosen, radius=KINDS[chosen.kind].room * chosen.radius)


class AdaptivePerturbations:
    """Universal perturbations that adapt to a network while it is being repaired.

    Args:
        classifier, samples: the network as it was, frozen, and clean samples.
        kinds: names in `perturbations.KINDS`; those that the inputs cannot have are left out.
        generator: of everything random.
        step: the length of a step, in units of the radius.

    Attributes:
        found: the perturbations as they were found on `classifier`, those of a kind together.
        adapted: the same after their latest step.
    """

    def __init__(
        self,
        classifier: Classifier,
        samples: Samples,
        kinds: Sequence[str],
        generator: torch.Generator,
        step: float = 0.3,
    ) -> None:
        possible = [kind for kind in kinds if kind in possible_kinds(classifier.domain)]
        self.found = [
            easiest_classes(find(classifier, samples, kind, generator=generator)) for kind in possible
        ]
        self.adapted = list(self.found)
        self.step = step

    def perturbed(self, network: Network, inputs: Tensor) -> list[Tensor]:
        """`inputs` with perturbations that have taken a step against `network`; one of each kind.

        The easiest classes take turns among the inputs.
        """
        moved: list[Tensor] = []
        for place, last in enumerate(self.adapted):
            which = torch.arange(len(inputs), device=inputs.device) % len(last.targets)
            self.adapted[place] = last.ascended(network, inputs, which, self.step)
            moved.append(self.adapted[place](inputs, which).detach())
        return moved

    def outcome(self, before: Network, after: Network, samples: Samples) -> list[dict[str, Any]]:
        """What each perturbation achieved on `before` as it was found, and what it does on `after`.

        `after` is the repaired network, to which the perturbations have adapted by now.
        """
        return [
            row
            for found, adapted in zip(self.found, self.adapted, strict=True)
            for row in record_rows(found, found.rates(before, samples), adapted.rates(after, samples))
        ]


def record_rows(found: Perturbations, before: Tensor, after: Tensor) -> list[dict[str, Any]]:
    """Rows for a record: each perturbation's rates (classes,) before and after a repair."""
    return [
        {"kind": found.kind, "target": target, "radius": found.radius, "before": was, "after": now}
        for target, was, now in zip(found.targets.tolist(), before.tolist(), after.tolist(), strict=True)
    ]


def _means(values: Tensor, weights: Tensor, which: Tensor, count: int) -> Tensor:
    """Sums of `values` over sums of `weights`, by group; zero for a group without weight."""
    zeros = torch.zeros(count, device=values.device)
    sums = zeros.index_add(0, which, values)
    return sums / zeros.index_add(0, which, weights).clamp_min(1)
