"""The latent shift trained away: features moved towards a class keep their labels.

A trigger moves the last features of any input across the border of its target class. The shortest shift that
puts all clean samples into a class has a closed form (`detectors.latent_shift`), and needs no trigger and no
search in input space. The network is trained, a few steps and from a few samples, to answer as it did though
its last features are moved towards the suspicious class, half as far or farther. Which weights change is an
option: the last linear layer alone can only turn away from the shift.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mmbd.base.choose import unknown
from mmbd.base.errors import NotEvaluable, NotMitigated
from mmbd.base.extras import room_for_scipy
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.detectors.latent_shift import largest_leads, least_sure, shortest
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
from mmbd.model import head as heads
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples

TUNED = ("last layer", "all")
AGAIN = 10  # steps after which the shifts are found anew


def latent_shift(
    classifier: Classifier,
    samples: Samples,
    *,
    accuracy: float = 0.97,
    lr: float = 3e-4,
    steps: int = 150,
    batch: int = 100,
    against: float = 0.1,
    targets: tuple[int, ...] | None = None,
    share: float = 0.5,
    tuned: str = "all",
    augment: bool = True,
    teacher: Classifier | None = None,
    aside: Samples | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Fine-tune weights so that last features moved towards a class keep their labels.

    The loss is the disagreement with the unrepaired network on clean samples, plus `against` times that on
    the same samples with their last features moved by half to all of the latent shift of a suspicious
    class. The shifts are found anew every ten steps, for the network as it has become. Otherwise as
    `hardening`.

    Args:
        classifier: what to repair.
        samples: clean ones, 20 a class or more.
        accuracy: the share of the accuracy on the samples to keep.
        lr: of Adam; falls to zero along a cosine.
        steps: of the optimiser.
        batch: samples a step.
        against: the weight of the loss on moved features.
        targets: the suspicious classes; by default the one of the shortest shift.
        share: of every class's samples that a shift has to take, see `detectors.latent_shift`.
        tuned: the weights that change: "last layer", or "all".
        augment: mirror and shift images at random.
        teacher: whose answers on clean samples the weights are to keep, see `hardening`.
        aside: further samples, not trained on, on which the accuracy has to be kept, too.
        seed: of the order of the samples.
        progress: called after every step.

    The record's settings hold, besides these, `extent` and `shifts`: by class, how long its shift was before
    and is after, in mean lengths of the features.

    Raises:
        ValueError: another word for `tuned`, or a class that there is not.
        NotMitigated: no last linear layer can be seen, no shift takes the samples to the class, there are no
            weights, or no others kept the accuracy.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    if tuned not in TUNED:
        raise ValueError(unknown("choice of weights", tuned, TUNED))
    if targets is not None and not all(target in range(classifier.classes) for target in targets):
        raise ValueError(
            f"targets must be classes of the model, 0 to {classifier.classes - 1}, got {targets}"
        )
    network = duplicate(classifier)
    with trainable(network):
        pass  # whether there are any, before time is spent
    teacher = classifier if teacher is None else teacher
    generator = generator_for("latent shift", seed)
    right = samples.at(samples.correct)
    with classifier.frozen(), teacher.frozen():
        first = shifts_of(classifier, right, share)
        # Where all samples are of a class already, there is nothing to be held back.
        finite = [label for label, one in enumerate(first.relative) if np.isfinite(one) and one > 0]
        chosen = targets or tuple(sorted(finite, key=lambda label: first.relative[label])[:1])
        if not chosen or not all(label in finite for label in chosen):
            raise NotMitigated("no shift of the last features takes all samples to the suspicious class")
        layer, taken = first.head, 0
        moves = first.shifts[list(chosen)]

        def losses(repaired: Classifier, inputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal moves, taken
            if taken and taken % AGAIN == 0:
                moves = _still_finite(shifts_of(repaired, right, share).shifts[list(chosen)], moves)
            taken += 1
            count = len(inputs)
            which = torch.arange(count) % len(chosen)
            far = 0.5 + 0.5 * torch.rand(count, 1, generator=generator)
            shifts = torch.cat([torch.zeros(count, moves.shape[1]), far * moves[which]])
            with heads.shifting(layer, shifts.to(inputs.device)):
                clean, shifted = repaired(torch.cat([inputs, inputs]).contiguous()).split(count)
            return disagreement(clean, wanted), against * disagreement(shifted, wanted)

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
            tell=counted(progress, "latent shift", steps),
            tuned=partial(_last_layer, layer) if tuned == "last layer" else list,
            aside=aside,
        )
        last = shifts_of(repaired, right, share)
    now = [one if np.isfinite(one) else None for one in last.relative]
    lengths = {str(label): (first.relative[label], now[label]) for label in chosen}
    record = Record(
        "latent-shift", True, settings=settings | {"extent": extent, "shifts": lengths}, curves=curves.lists
    )
    return done("latent-shift", repaired, samples, record, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class Shifts:
    """The latent shift of every class of a network.

    Attributes:
        head: its last linear layer.
        shifts: (classes, features); not finite for a class that no shift takes all samples to.
        relative: by class, the shift's length in mean lengths of the features.
    """

    head: heads.Head
    shifts: Tensor
    relative: list[float]


def shifts_of(classifier: Classifier, samples: Samples, share: float) -> Shifts:
    """The shortest shift of the last features into every class, see `detectors.latent_shift`.

    Raises:
        NotMitigated: no last linear layer can be seen.
    """
    try:
        layer = heads.find(classifier)
    except NotEvaluable as error:
        raise NotMitigated(str(error)) from error
    room_for_scipy()
    leads = largest_leads(least_sure(logits_of(classifier, samples.inputs), share))
    # The shortest shift lies in the span of the weights.
    basis, inside = (part.numpy() for part in torch.linalg.qr(layer.weight.T))
    rows = inside.T
    found: list[np.ndarray] = []
    for label, lead in enumerate(leads):
        others = np.arange(len(lead)) != label
        found.append(basis @ shortest(rows[label] - rows[others], lead[others]))
    shifts = torch.tensor(np.stack(found), dtype=torch.float32)
    length = float(layer.features(classifier, samples.inputs).norm(dim=1).mean())
    return Shifts(layer, shifts, [float(one) / max(length, 1e-12) for one in shifts.norm(dim=1)])


def _still_finite(new: Tensor, old: Tensor) -> Tensor:
    """The new shifts (classes, features), the old ones of classes that no shift reaches any more."""
    return torch.where(new.isfinite().all(1, keepdim=True), new, old)


def _last_layer(layer: heads.Head, weights: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The weights of the last linear layer, told by what they hold.

    Raises:
        NotMitigated: none of them holds what the layer does.
    """
    wanted = (layer.weight, layer.weight.T, layer.bias)

    def same(weight: Tensor) -> bool:
        values = weight.detach().double().cpu()
        values = values.flatten(1) if values.dim() > 2 else values
        return any(values.shape == one.shape and torch.equal(values, one) for one in wanted)

    found = [weight for weight in weights if same(weight)]
    if not any(weight.dim() > 1 for weight in found):
        raise NotMitigated('the last linear layer has no weights of its own: tuned="all" changes all')
    return found
