"""NC-M: unlearn a reverse-engineered trigger (Wang et al. 2019, Neural Cleanse, section VI).

The classifier is fine-tuned on clean samples, a fifth of which carry the trigger that a detector
has found, with their true labels. What is unlearned is that trigger and what resembles it: the
better it was reverse-engineered, the better this works.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.fine_tuning import steps, tune, tuning_of
from mmbd.mitigators.mitigator import Mitigation, counted, done, duplicate
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.triggers.trigger import Trigger

STEPS = 40  # one epoch of 5000 samples in batches of 128


def unlearning(
    classifier: Classifier,
    samples: Samples,
    *,
    trigger: Trigger,
    share: float = 0.2,
    epochs: int | None = None,
    lr: float = 0.01,
    batch: int = 128,
    clip: float | None = 1.0,
    augment: tuple[str, ...] = (),
    move_statistics: bool = True,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Fine-tune on samples of which some carry the trigger and all keep their labels.

    Neural Cleanse trains for one epoch on a tenth of the training set, the paper on 500 samples a
    class: about 40 steps. That many are taken however few samples there are.

    Args:
        classifier: what to repair.
        samples: clean samples; the paper takes 500 a class.
        trigger: what to unlearn, for example a `MaskPattern`, found for the class that is thought
            to be the target. Called with samples on the CPU.
        share: of the samples that get the trigger.
        epochs: how often every sample is seen; by default as often as 40 steps need.
        lr: the first learning rate; 0.01 is what other implementations use.
        batch: the samples of a step.
        clip: see `fine_tuning.tune`. Without, a learning rate of 0.01 left accuracies of 17 to 38 %
            of 60 % after one epoch of 20 samples a class.
        augment: see `fine_tuning.tune`.
        move_statistics: see `fine_tuning.tune`.
        seed: picks the samples to stamp, their order and their augmentation.
        progress: called after every step.

    Raises:
        ValueError: a share that is not above 0 and at most 1, or a trigger that does not return
            finite samples of the same shape.
        NotMitigated: the training diverged.
    """
    started = time.perf_counter()
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of samples to stamp from above 0 to 1, got {share:g}")
    count = len(samples.labels)
    order = torch.randperm(count, generator=generator_for("unlearning", seed))
    chosen = order[: max(1, round(share * count))].to(samples.inputs.device)
    inputs = samples.inputs.clone()
    inputs[chosen] = _stamped(classifier, trigger, samples.inputs[chosen])
    moved = logits_of(classifier, inputs[chosen]).argmax(1) != samples.logits[chosen].argmax(1)
    if epochs is None:
        epochs = max(1, round(STEPS / max(1, steps(count, 1, batch))))
    settings = tuning_of(locals())
    network = duplicate(classifier)
    losses = tune(
        classifier,
        network,
        inputs,
        samples.labels,
        **settings,
        on_step=counted(progress, "unlearning", steps(count, epochs, batch)),
    )
    return done(
        "unlearning",
        classifier.around(network),
        samples,
        settings={"share": share, **settings},
        curves={"loss": losses},
        seconds=time.perf_counter() - started,
        notes=(
            f"the trigger was stamped on {len(chosen)} samples and changed the answer on "
            f"{float(moved.double().mean()):.0%} of them: what it does not trigger stays",
        ),
    )


def _stamped(classifier: Classifier, trigger: Trigger, inputs: Tensor) -> Tensor:
    stamped = trigger(inputs.cpu())
    if stamped.shape != inputs.shape or not bool(torch.isfinite(stamped).all()):
        raise ValueError(
            f"expected the trigger to return finite samples of shape {tuple(inputs.shape)}, got "
            f"{tuple(stamped.shape)}"
        )
    return classifier.domain.project_(stamped.float().clone()).to(inputs.device)
