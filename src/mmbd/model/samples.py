"""Clean samples as methods see them: checked, with what the model says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import NotMitigated
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of, scaled

FEWEST = 2  # samples of every class


AGREEMENT = 0.25  # of the labels with the model: below, the classes are in another order


@dataclass(frozen=True)
class Samples:
    """Clean samples, and what the unrepaired classifier says of them.

    Args:
        inputs: (n, *shape) valid inputs, float32, on the classifier's device.
        labels: (n,) the true classes; the classifier's own answers where none were given.
        logits: (n, classes) of the unrepaired classifier.
        own: whether the labels are the classifier's own answers.
    """

    inputs: Tensor
    labels: Tensor
    logits: Tensor
    own: bool = False

    @property
    def correct(self) -> Tensor:
        """(n,) which samples the unrepaired classifier gets right."""
        return self.logits.argmax(1) == self.labels

    def at(self, rows: Tensor) -> Samples:
        """The samples at these places, or where a mask (n,) is true."""
        return replace(self, inputs=self.inputs[rows], labels=self.labels[rows], logits=self.logits[rows])

    def kept(self, logits: Tensor) -> float:
        """The share of the samples it got right that `logits` (n, classes) still get right."""
        return float((logits.argmax(1) == self.labels)[self.correct].double().mean())

    def accuracy(self, logits: Tensor) -> float:
        """The share of all samples that `logits` (n, classes) get right."""
        return float((logits.argmax(1) == self.labels).double().mean())


def prepare(classifier: Classifier, inputs: Any, labels: Any = None, *, fewest: int = FEWEST) -> Samples:
    """Check clean samples and ask the classifier about them.

    Args:
        classifier: the one to be repaired.
        inputs: (n, *shape) tensor or array: valid inputs, or 8-bit images for a range of 0 to 1.
        labels: (n,) whole numbers; the classifier's own answers if None.
        fewest: how many samples every class needs.

    Raises:
        ValueError: inputs of another shape, outside the domain, not finite, or labels that are not
            one class number an input.
        NotMitigated: too few samples, a class without any, or labels that hardly ever agree with
            the classifier.
    """
    inputs = torch.as_tensor(inputs)
    expected = classifier.domain.shape
    if inputs.dim() == 0 or tuple(inputs.shape[1:]) != expected:
        raise ValueError(
            f"expected samples of shape (n, {', '.join(map(str, expected))}), got {tuple(inputs.shape)}"
        )
    inputs = scaled(inputs)
    if not bool(torch.isfinite(inputs).all()):
        raise ValueError("some samples hold NaN or infinity")
    distance = (classifier.domain.project_(inputs.clone()) - inputs).abs().amax() if len(inputs) else 0
    if float(distance) > 1e-3 * float(classifier.domain.extent.max()):
        raise ValueError(
            f"the samples range from {float(inputs.min()):g} to {float(inputs.max()):g}, outside "
            f"the classifier's domain {classifier.domain!r}: give raw inputs, not normalised ones"
        )
    if len(inputs) < fewest * classifier.classes:
        raise NotMitigated(
            f"{len(inputs)} samples for {classifier.classes} classes: at least {fewest} of every "
            "class are needed, 20 are usual"
        )
    inputs = inputs.to(classifier.device)
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)  # faster convolutions
    logits = logits_of(classifier, inputs)
    own = labels is None
    labels = logits.argmax(1) if own else _labels(labels, len(inputs), classifier)
    samples = Samples(inputs, labels, logits, own)
    counts = labels.bincount(minlength=classifier.classes)
    if not own and int(counts.min()) < fewest:
        short = [classifier.class_names[k] for k in (counts < fewest).nonzero().flatten().tolist()]
        more = f" and {len(short) - 3} more" if short[3:] else ""
        raise NotMitigated(
            f"at least {fewest} samples of every class are needed; fewer there are of "
            f"{', '.join(short[:3])}{more}"
        )
    agreement = float(samples.correct.double().mean())
    # Two hits more in four samples more: of ten samples a good network may get two right by chance.
    if (agreement * len(inputs) + 2) / (len(inputs) + 4) < AGREEMENT:
        raise NotMitigated(
            f"the labels agree with the classifier on {agreement:.0%} of the samples only: the "
            "classes may be in another order, or the samples not be the classifier's kind"
        )
    return samples


def _labels(labels: Any, count: int, classifier: Classifier) -> Tensor:
    labels = torch.as_tensor(labels)
    if tuple(labels.shape) != (count,) or labels.dtype.is_floating_point:
        raise ValueError(
            f"expected {count} whole numbers as labels, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classifier.classes:
        raise ValueError(
            f"labels must be 0 to {classifier.classes - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return labels.long().to(classifier.device)
