"""The clean samples of a scan: what is searched for on them, or why they are of no use to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mmbd.base.errors import TooFewInputs
from mmbd.detectors.mm_bd.budget import Budget
from mmbd.detectors.mm_bd.meter import Meter
from mmbd.detectors.mm_bd.searched import Searched
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.samples import Samples
from mmbd.search import memory
from mmbd.search.marks_on_samples import evaluations_on_samples, marks_on_samples
from mmbd.search.maximum_margins import MaximumMargins


def no_use(classifier: Classifier, *, marks: bool) -> str | None:
    """Why clean samples are of no use to a scan; None where they are.

    Args:
        classifier: the model under inspection.
        marks: whether the marks are searched for that samples add to.
    """
    if (kind := kind_of(classifier.domain)) != "image":
        return f"there are tables of clean networks for images only, and these inputs are of kind {kind}"
    return None if marks else "what decides here looks at margins and gains alone, which need none"


def with_samples(
    found: Searched,
    samples: Samples | None,
    margins: MaximumMargins,
    classifier: Classifier,
    classes: Sequence[int] | None,
    meter: Meter,
    budget: Budget | None,
    *,
    seed: int,
    batch: int | None,
    memory_limit: int | None,
) -> Searched:
    """What was found, with the marks on clean samples; or with the reason why there are none."""
    if samples is None:
        return found
    if found.marks is None:
        return replace(found, without_samples=found.without_marks)
    count = classifier.classes if classes is None else len(classes)
    if budget is not None and not budget.fits(margins, evaluations_on_samples(count)):
        return replace(found, without_samples="the budget left no time for them")
    quick = memory.quick_batch(classifier)
    size = batch or memory.batch_size(classifier, memory_limit, most=quick)
    try:
        with classifier.frozen(), torch.inference_mode(False), torch.enable_grad():
            seen = marks_on_samples(
                classifier, samples, seed=seed, classes=classes, batch=size, progress=meter.samples
            )
    except TooFewInputs as error:
        return replace(found, without_samples=str(error))
    meter.add(seen)
    return replace(found, on_samples=seen)
