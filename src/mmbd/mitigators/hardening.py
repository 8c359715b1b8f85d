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
import torch.nn.functional as F
from torch import Tensor

from mmbd.base.errors import NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.learned_bounds import Curves
from mmbd.mitigators.mitigator import (
    Mitigation,
    Record,
    batches,
    counted,
    disagreement,
    done,
    duplicate,
    furthest,
    settings_of,
    trainable,
)
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.samples import Samples
from mmbd.search.universal import AdaptivePerturbations

SHIFT = 2 / 32  # of an image's side


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
    perturbations: tuple[str, ...] = ("added", "flow"),
    augment: bool = True,
    teacher: Classifier | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Fine-tune all weights against universal perturbations, with the network as its own teacher.

    The loss is the disagreement with the unrepaired network on clean samples, plus `against` times
    that on perturbed ones, or `against_flows` times where a flow perturbs them. BatchNorm keeps its
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
        perturbations: the kinds to train against, names in `perturbations.KINDS`.
        augment: mirror and shift images at random.
        teacher: whose answers on clean samples the weights are to keep; by default those of
            `classifier` as it is given. `samples` hold its answers.
        seed: of the order of the samples and the starts of the perturbations.
        progress: called after every step.

    Raises:
        NotMitigated: the model is not an `nn.Module`, has no weights, or no other ones kept the accuracy.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    network = duplicate(classifier)
    repaired = classifier.around(network)
    generator, curves = generator_for("hardening", seed), Curves()
    image = augment and kind_of(classifier.domain) == "image"
    teacher = classifier if teacher is None else teacher
    tell = counted(progress, "hardening", steps)
    with classifier.frozen(), teacher.frozen():
        with trainable(network) as weights:
            adaptive = AdaptivePerturbations(classifier, samples, perturbations, generator)
            weighed = [against_flows if row.kind == "flow" else against for row in adaptive.found]
            original = [weight.detach().clone() for weight in weights]
            optimizer = torch.optim.Adam(weights, lr=lr)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            for indices in batches(len(samples.labels), batch, steps, generator):
                inputs = samples.inputs[indices]
                if image:
                    inputs = _moved(inputs, generator)
                with torch.no_grad():
                    wanted = teacher(inputs)
                with repaired.frozen():
                    parts = [inputs, *adaptive.perturbed(repaired, inputs)]
                clean, *fooled = (
                    disagreement(part, wanted)
                    for part in repaired(torch.cat(parts).contiguous()).split(len(inputs))
                )
                missed = sum(map(operator.mul, weighed, fooled), torch.zeros(()))
                optimizer.zero_grad()
                (clean + missed).backward()
                optimizer.step()
                scheduler.step()
                curves.add(clean=clean, fooled=missed)
                tell()
        tuned = [weight.detach().clone() for weight in weights]

        def reached(extent: float) -> float:
            for weight, first, last in zip(weights, original, tuned, strict=True):
                weight.copy_(torch.lerp(first, last, extent))
            return samples.accuracy(repaired(samples.inputs))

        with torch.no_grad(), repaired.frozen():
            extent = furthest(reached, accuracy * samples.accuracy(samples.logits))
            if not extent:
                raise NotMitigated("no weights but the original ones kept the accuracy asked for")
            reached(extent)
            outcome = adaptive.outcome(teacher, repaired, samples)
    record = Record(
        "hardening",
        True,
        settings=settings | {"extent": extent},
        curves=curves.lists,
        perturbations=tuple(outcome),
    )
    return done("hardening", repaired, samples, record, seconds=time.perf_counter() - started)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images, all mirrored or not, and shifted by up to a sixteenth of their sides."""
    if torch.rand((), generator=generator) < 0.5:
        images = images.flip(-1)
    height, width = images.shape[-2:]
    y, x = (max(1, round(SHIFT * side)) for side in (height, width))
    down = int(torch.randint(2 * y + 1, (), generator=generator))
    right = int(torch.randint(2 * x + 1, (), generator=generator))
    padded = F.pad(images, (x, x, y, y), mode="replicate")
    return padded[..., down : down + height, right : right + width]
