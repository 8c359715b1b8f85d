"""Whether samples and triggers are of a classifier's kind, asked before anything long is done."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.data.dataset import Dataset
from mmbd.model.classifier import Classifier
from mmbd.model.forward import scaled
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.trigger import stamp

BATCH = 500
ROOM = 1e-3  # of the domain's extent, which samples may lie outside


def inputs(samples: Tensor, classifier: Classifier, what: str = "the samples") -> None:
    """Check that raw samples (n, ...) are inputs of the classifier.

    Raises:
        Failed: of another shape or kind, outside the classifier's domain, or not finite.
    """
    domain = classifier.domain
    if samples.dim() == 0 or tuple(samples.shape[1:]) != domain.shape:
        raise Failed(
            f"{what} have the shape {tuple(samples.shape[1:])}, expected {domain.shape}, as the "
            "classifier takes them"
        )
    if samples.dtype != torch.uint8 and not samples.is_floating_point():
        raise Failed(f"{what} are {samples.dtype}, expected 8-bit or floating-point ones")
    room = ROOM * float(domain.extent.max())
    for part in samples.split(BATCH):
        values = scaled(part).to(classifier.device)
        if not bool(torch.isfinite(values).all()):
            raise Failed(f"{what} hold NaN or infinity")
        if float((domain.project_(values.clone()) - values).abs().amax()) > room:
            raise Failed(
                f"{what} range from {float(values.min()):g} to {float(values.max()):g}, outside "
                f"the classifier's domain {domain!r}: give raw inputs, not normalised ones"
            )


def backdoor(backdoor: Backdoor, classifier: Classifier, samples: Dataset | None = None) -> None:
    """Check that a backdoor is of this classifier, and that `samples` can show whether it works.

    Raises:
        Failed: it has classes that the classifier does not have, its triggers do not go on such
            inputs, or `samples` has none of its source classes.
    """
    classes, shape = classifier.classes, classifier.domain.shape
    largest = max([*backdoor.triggers, *backdoor.targets.values()])
    if largest >= classes:
        raise Failed(
            f"the trigger is for class {largest}, and the classifier has 0 to {classes - 1}: it "
            "belongs to another model"
        )
    for trigger in {id(trigger): trigger for trigger in backdoor.triggers.values()}.values():
        try:
            marked = stamp(trigger, torch.zeros(1, *shape))
        except Exception as error:  # a pattern of any shape
            raise Failed(
                f"the trigger does not go on inputs of shape {shape}: it belongs to another model "
                f"({clean_text(str(error), 200)})"
            ) from error
        if tuple(marked.shape) != (1, *shape) or not bool(torch.isfinite(marked).all()):
            raise Failed(
                f"the trigger makes {tuple(marked.shape)} of inputs of shape {shape}, or no finite "
                "numbers: it belongs to another model"
            )
    if samples is not None and len(samples):
        sources = torch.tensor(list(backdoor.triggers))
        if not bool(torch.isin(samples.labels, sources).any()):
            raise Failed(
                "no held-out samples of the trigger's source classes "
                f"{sorted(backdoor.triggers)[:9]}: give some, or leave the trigger out"
            )
