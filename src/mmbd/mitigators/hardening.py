"""Weights hardened against universal perturbations, for backdoors that no bound can stop.

A pattern that moves every activation a little (the chessboard) or moves pixels (a warp) leaves
nothing to bound. The perturbation that takes clean samples to the target still comes close to the
trigger (`universal`), so the network is trained, a few steps and from a few samples, to answer
perturbed samples as the unrepaired network answers clean ones. Zeng et al. 2022 (I-BAU) unlearn
such perturbations too, by implicit gradients and with one perturbation for all classes.
"""

from __future__ import annotations

import operator
import time

import torch
from torch import Tensor

from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.mitigator import (
    Mitigation,
    Record,
    counted,
    disagreement,
    done,
    duplicate,
    settings_of,
    trainable,
)
from mmbd.mitigators.self_distillation import retrained
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.adaptive_windows import AdaptiveWindows
from mmbd.search.universal import AdaptivePerturbations


def hardening(
    classifier: Classifier,
    samples: Samples,
    *,
    accuracy: float = 0.97,
    lr: float = 3e-4,
    steps: int = 150,
    batch: int = 100,
    against: float = 0.15,
    against_flows: float = 0.6,
    against_patches: float = 0.6,
    perturbations: tuple[str, ...] = ("added", "flow"),
    sides: tuple[int, ...] | None = None,
    targets: tuple[int, ...] | None = None,
    augment: bool = True,
    teacher: Classifier | None = None,
    aside: Samples | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Fine-tune all weights against universal perturbations, with the network as its own teacher.

    The loss is the disagreement with the unrepaired network on clean samples, plus `against` times
    that on perturbed ones, or as often as `against_flows` and `against_patches` say. BatchNorm keeps its
    statistics. If the accuracy on the samples ends below `accuracy` of what it was, the weights go
    back on the straight line to where they were until it does not. On a network with bounds these
    stay as they are.

    Args:
        classifier: what to repair.
        samples: clean ones, 20 a class or more.
        accuracy: the share of the accuracy on the samples to keep.
        lr: of Adam; falls to zero along a cosine.
        steps: of the optimiser.
        batch: samples a step.
        against: the weight of the loss on perturbed samples.
        against_flows: the same for flows. They cost little accuracy and are far from any one
            trigger, so that they have to be stopped well for a warp to be stopped at all.
        against_patches: the same for patches, which cost little accuracy, too.
        perturbations: the kinds to train against: names in `perturbations.KINDS`, and "patch" for windows
            raced over positions (`search.adaptive_windows`).
        sides: of the patches, in pixels or samples; by default those that the search for what still works
            tries (`search.still_reached`).
        targets: the classes that patches lead to; by default those that yield most.
        augment: mirror and shift images at random.
        teacher: whose answers on clean samples the weights are to keep; by default those of
            `classifier` as it is given. `samples` hold its answers.
        aside: further samples, not trained on, on which the accuracy has to be kept, too.
        seed: of the order of the samples and the starts of the perturbations.
        progress: called after every step.

    Raises:
        NotMitigated: the model is not an `nn.Module`, has no weights, or no other ones kept the accuracy.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    network = duplicate(classifier)
    with trainable(network):
        pass  # whether there are any, before time is spent
    generator = generator_for("hardening", seed)
    teacher = classifier if teacher is None else teacher
    with classifier.frozen(), teacher.frozen():
        whole = AdaptivePerturbations(classifier, samples, perturbations, generator)
        adaptive: list[AdaptivePerturbations | AdaptiveWindows] = [whole]
        kinds = [row.kind for row in whole.found]
        if "patch" in perturbations:
            adaptive.append(AdaptiveWindows(classifier, samples, seed=seed, sides=sides, targets=targets))
            kinds.append("patch")
        heavy = {"flow": against_flows, "patch": against_patches}
        weighed = [heavy.get(kind, against) for kind in kinds]

        def losses(repaired: Classifier, inputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            with repaired.frozen():
                parts = [inputs, *(part for each in adaptive for part in each.perturbed(repaired, inputs))]
            clean, *fooled = (
                disagreement(part, wanted)
                for part in repaired(torch.cat(parts).contiguous()).split(len(inputs))
            )
            return clean, sum(map(operator.mul, weighed, fooled), torch.zeros(()))

        repaired, curves, extent = retrained(
            classifier,
            network,
            samples,
            losses,
            teacher=teacher,
            accuracy=accuracy,
            lr=lr,
            steps=steps,
            batch=batch,
            augment=augment,
            generator=generator,
            tell=counted(progress, "hardening", steps),
            aside=aside,
        )
        with torch.no_grad(), repaired.frozen():
            outcome = [row for each in adaptive for row in each.outcome(teacher, repaired, samples)]
    record = Record(
        "hardening",
        True,
        settings=settings | {"extent": extent},
        curves=curves.lists,
        perturbations=tuple(outcome),
    )
    return done("hardening", repaired, samples, record, seconds=time.perf_counter() - started)
