"""How fast a backdoor comes back: one epoch on ten samples with the perturbation that was found.

A repair that only covers a backdoor up gives it back after a few steps on a few triggered samples, far
faster than a network learns one (Min et al., "Uncovering, Explaining, and Mitigating the Superficial Safety
of Backdoor Defense", NeurIPS 2024). So a copy of the repaired network is trained, for one epoch, on ten
samples with the perturbation and the target's label and the same ten as they are, and beside it the
network's clean twin; where there is none, the repaired network with a perturbation found for another class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmbd.base.errors import NotMitigated
from mmbd.mitigators.fine_tuning import tune
from mmbd.mitigators.mitigator import duplicate
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.search.still_reached import Change, Reach, share

SAMPLES = 10
BATCH = 4  # of ten samples with the perturbation and ten without: five steps
LR = 0.02


@dataclass(frozen=True)
class Course:
    """What training on a perturbation did.

    Args:
        kind: of the perturbation, found on the unrepaired network.
        target: the class that it leads to.
        shares: of other samples of other classes, how many go to the target with the perturbation: before
            the training, and after every step.
        without: the same without the perturbation, after the last step.
    """

    kind: str
    target: int
    shares: tuple[float, ...]
    without: float


@dataclass(frozen=True)
class ReAttack:
    """A re-attack on the repaired network, and what it is compared with.

    Args:
        course: on the repaired network, with the perturbation that worked best on the unrepaired one.
        beside: "clean twin" (the same on that) or "another class" (on the repaired network, with a
            perturbation of the same kind and size for a class that did not give way).
        other: that course; None where there is nothing to compare with.
    """

    course: Course
    beside: str
    other: Course | None


def re_attacked(
    repaired: Classifier,
    samples: Samples,
    reached: Sequence[Reach],
    *,
    twin: Classifier | None = None,
    seed: int = 0,
) -> ReAttack:
    """Attack a repaired network anew.

    Args:
        repaired: left as it is.
        samples: clean ones in random order; ten are trained on, the others counted.
        reached: what the search found on the unrepaired network.
        twin: a clean network of the same kind; left as it is.
        seed: of the order of the samples.

    Raises:
        NotMitigated: nothing was found, too few samples, or no weights that could be trained.
    """
    rows = sorted(
        (row for row in reached if row.change is not None), key=lambda row: (-row.gave_way, -row.before)
    )
    if not rows:
        raise NotMitigated("no perturbation was found to attack with")
    row = rows[0]
    course = _trained(repaired, samples, row, seed)
    if twin is not None:
        return ReAttack(course, "clean twin", _trained(twin, samples, row, seed))
    others = [one for one in rows if one.kind == row.kind and one.target != row.target and not one.gave_way]
    other = _trained(repaired, samples, others[0], seed) if others else None
    return ReAttack(course, "another class", other)


def _trained(classifier: Classifier, samples: Samples, row: Reach, seed: int) -> Course:
    change = row.change
    assert change is not None
    samples = replace(samples, logits=logits_of(classifier, samples.inputs))
    others = samples.at(samples.logits.argmax(1) != row.target)
    if len(others.labels) < 2 * SAMPLES:
        raise NotMitigated(
            f"{len(others.labels)} samples of other classes than {row.target}: {2 * SAMPLES} are needed, "
            f"{SAMPLES} to train on and as many to count"
        )
    places = torch.arange(len(others.labels), device=others.labels.device)
    used, counted = others.at(places[:SAMPLES]), others.at(places[SAMPLES:])
    network = duplicate(classifier)
    attacked = classifier.around(network)
    shares = [share(attacked, counted, change, row.target)]

    def count() -> None:
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        shares.append(share(attacked, counted, change, row.target))
        for module, training in modes:
            module.training = training

    inputs, labels = _pairs(used, change, row.target)
    tune(
        classifier,
        network,
        inputs,
        labels,
        epochs=1,
        lr=LR,
        batch=BATCH,
        clip=1.0,
        augment=(),
        move_statistics=False,
        seed=seed,
        on_step=count,
    )
    return Course(row.kind, row.target, tuple(shares), share(attacked, counted, lambda x: x, row.target))


def _pairs(samples: Samples, change: Change, target: int) -> tuple[Tensor, Tensor]:
    """The samples with the change and the target's label, and the same as they are."""
    own = samples.logits.argmax(1)
    inputs = torch.cat([change(samples.inputs), samples.inputs])
    return inputs, torch.cat([torch.full_like(own, target), own])
