"""NAD, neural attention distillation: a fine-tuned teacher shows where to look (Li et al. 2021).

A copy of the classifier is fine-tuned on clean samples and becomes the teacher. Another copy, the
student, is trained on them too, while its attention maps are drawn to the teacher's: at a few
activations, the sum of the squares of all channels at each position, as one vector of length 1.

    cross-entropy + sum_l beta_l * mean (A_l(student) - A_l(teacher))^2
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.base.errors import NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.mitigators.fine_tuning import steps, tune, tuning_of
from mmbd.mitigators.mitigator import Mitigation, counted, done, duplicate, settings_of
from mmbd.model import activations
from mmbd.model.activations import Activation, ActivationHook
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples


def distillation(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: str | Sequence[str] | None = None,
    betas: Sequence[float] = (500.0, 1000.0, 1000.0),
    teacher_epochs: int = 10,
    epochs: int = 20,
    lr: float = 0.1,
    batch: int = 64,
    clip: float | None = 1.0,
    weight_decay: float = 1e-4,
    augment: tuple[str, ...] = (),
    move_statistics: bool = True,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Fine-tune a teacher, and a student towards the teacher's attention.

    Args:
        classifier: what to repair.
        samples: clean samples; the paper takes 250 a class.
        layers: names of the activations to compare; see `deep` for the default.
        betas: the weights of the activations, the one nearest to the input first; of fewer
            activations the last ones count.
        teacher_epochs: of the teacher's fine-tuning.
        epochs: of the student.
        lr: the first learning rate of both, as published; there it falls to a tenth after two
            epochs, here along a cosine.
        batch: the samples of a step, of both.
        clip: see `fine_tuning.tune`. Without, a learning rate of 0.1 left accuracies of 25 to 43 %
            of 61 % with 20 or 100 samples a class; with it, 51 to 56 %.
        weight_decay: of both.
        augment: see `fine_tuning.tune`; published are "crop", "flip" and "cutout".
        move_statistics: see `fine_tuning.tune`.
        seed: of the orders and the augmentation.
        progress: called after every step of teacher and student.

    Raises:
        ValueError: no activation of such a name, or more activations than betas.
        NotMitigated: no activation with more than one position, or one of `layers` without, or
            a training that diverged.
    """
    settings = settings_of(locals()) | {"seed": seed}
    started = time.perf_counter()
    chosen = _chosen(classifier, layers)
    if len(chosen) > len(betas):
        raise ValueError(f"{len(betas)} betas for {len(chosen)} activations: give one for each")
    weights = tuple(betas)[-len(chosen) :]
    count = len(samples.labels)
    taught = steps(count, teacher_epochs, batch)
    expected = taught + steps(count, epochs, batch)
    teacher = duplicate(classifier)
    teaching = tune(
        classifier,
        teacher,
        samples.inputs,
        samples.labels,
        **tuning_of(settings | {"epochs": teacher_epochs}),
        weight_decay=weight_decay,
        on_step=counted(progress, "distillation: teacher", expected),
    )
    student = duplicate(classifier)
    pair = _Pair(student, teacher, chosen)
    learning = tune(
        classifier,
        pair,
        samples.inputs,
        samples.labels,
        # In the teacher's order the student would only take the teacher's way.
        **tuning_of(settings | {"seed": seed + 1}),
        weight_decay=weight_decay,
        penalty=lambda _: pair.distance(weights),
        on_step=counted(progress, "distillation: student", expected, done=taught),
    )
    return done(
        "distillation",
        classifier.around(student),
        samples,
        settings=settings | {"layers": [activation.name for activation in chosen], "betas": weights},
        curves={"teacher_loss": teaching, "loss": learning},
        seconds=time.perf_counter() - started,
    )


def positions(activation: Activation) -> int:
    """At how many places an activation has its channels."""
    return math.prod(activation.shape) // activation.channels


def deep(found: Sequence[Activation], count: int = 3) -> tuple[Activation, ...]:
    """The activations to compare: the last `count` resolutions, the last activation of each.

    Of a residual network only the ends of blocks count, so those are the ends of the last stages.
    Activations with one position are left out: a map of one position is 1 whatever happens there.
    """
    spread = [activation for activation in found if positions(activation) > 1]
    ends = {positions(activation): activation for activation in spread if activation.residual}
    last = ends if len(ends) > 1 else {positions(activation): activation for activation in spread}
    return tuple(sorted(last.values(), key=lambda activation: activation.index)[-count:])


def attention(activation: Activation, output: Tensor) -> Tensor:
    """The attention maps (batch, positions) of a batch of outputs, each of length 1."""
    energy = output.float().square().sum(activation.axis).flatten(1)
    return energy / (energy.norm(dim=1, keepdim=True) + 1e-6)


def _chosen(classifier: Classifier, layers: str | Sequence[str] | None) -> tuple[Activation, ...]:
    found = activations.find(classifier)
    if layers is None:
        chosen = deep(found)
    else:
        chosen = activations.select(found, layers if isinstance(layers, str) else list(layers))
    single = next((activation.name for activation in chosen if positions(activation) == 1), None)
    if single is not None or not chosen:
        which = "no activation has" if single is None else f"{single} has not"
        raise NotMitigated(
            f"attention says where in an image a network looks, and {which} more than one "
            "position: distillation needs activations before the pooling"
        )
    return chosen


class _Pair(nn.Module):
    """The student, with the teacher looking at the same inputs and the attention of both."""

    def __init__(self, student: nn.Module, teacher: nn.Module, chosen: Sequence[Activation]) -> None:
        super().__init__()
        self.student = student
        self.teacher = (teacher,)  # in a tuple: none of its weights are to be trained
        self.chosen = {activation.index: activation for activation in chosen}
        self.maps: tuple[list[Tensor], list[Tensor]] = ([], [])

    def forward(self, *inputs: Any, **options: Any) -> Any:
        with torch.no_grad():
            _, wanted = self.watched(self.teacher[0], *inputs, **options)
        output, maps = self.watched(self.student, *inputs, **options)
        self.maps = (maps, wanted)
        return output

    def watched(self, network: nn.Module, *inputs: Any, **options: Any) -> tuple[Any, list[Tensor]]:
        """The network's output and its attention maps."""
        maps: list[Tensor] = []

        def look(index: int, output: Tensor) -> Tensor:
            if index in self.chosen:
                maps.append(attention(self.chosen[index], output))
            return output

        with ActivationHook(look):
            return network(*inputs, **options), maps

    def distance(self, weights: Sequence[float]) -> Tensor:
        """The weighted distances of the maps of the last inputs."""
        pairs = zip(weights, *self.maps, strict=True)
        return torch.stack([weight * F.mse_loss(own, theirs) for weight, own, theirs in pairs]).sum()
