"""What every mitigator is: a classifier and a few clean samples in, a repaired classifier out.

    mitigator(classifier, samples, seed=0, progress=None, **options) -> Mitigation

It leaves the classifier it is given as it was, bit for bit, and works on a copy. Where it cannot
do its work it raises NotMitigated; `mitigate` turns that into the unchanged classifier, so marked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.model.classifier import Classifier
from mmbd.training.loop import scaled

Progress = Callable[[int, int], None]  # steps done, steps expected
FEWEST = 2  # samples of every class
AGREEMENT = 0.25  # of the labels with the model: below, the classes are in another order


class NotMitigated(ValueError):
    """Nothing was repaired, and why."""


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

    def kept(self, logits: Tensor) -> float:
        """The share of the samples it got right that `logits` (n, classes) still get right."""
        return float((logits.argmax(1) == self.labels)[self.correct].double().mean())

    def accuracy(self, logits: Tensor) -> float:
        """The share of all samples that `logits` (n, classes) get right."""
        return float((logits.argmax(1) == self.labels).double().mean())


@dataclass(frozen=True)
class Record:
    """What was done to a classifier; JSON-ready but for nothing.

    Args:
        method: the mitigator's name.
        mitigated: whether the returned classifier differs from the one given.
        reason: why it does not.
        weights_changed: whether any weight or statistic of the network differs.
        samples: how many clean samples there were; `own_labels` says that the classifier's own
            answers stood in for labels.
        accuracy: on those samples, before and after. They were trained on: measure on others.
        kept: the share of the samples it got right before that it still gets right.
        settings: every option of the method.
        layers: the bounds, an object an activation: name, channels, fold, upper, lower, highest
            (what the samples reached), a number a channel each.
        curves: a number for every step, by name.
        perturbations: the universal perturbations the repair was tuned against, where it was: kind,
            target, radius, and the share of other classes' samples that each takes to its target
            `before`, and, once it has adapted to the repair, `after`.
        seconds: what it took.
        notes: anything worth knowing.
    """

    method: str
    mitigated: bool
    reason: str | None = None
    weights_changed: bool = False
    samples: int = 0
    own_labels: bool = False
    accuracy: tuple[float, float] | None = None
    kept: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    layers: tuple[Mapping[str, Any], ...] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    perturbations: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Mitigation(NamedTuple):
    """A classifier, repaired unless the record says otherwise, and the record."""

    classifier: Classifier
    record: Record


class Mitigator(Protocol):
    """Repairs a copy of one classifier; the random choices follow from `seed`."""

    def __call__(
        self, classifier: Classifier, samples: Samples, *, seed: int = 0, progress: Progress | None = None
    ) -> Mitigation: ...


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
    logits = answers(classifier, inputs)
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
    if agreement < AGREEMENT:
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


def duplicate(classifier: Classifier) -> nn.Module:
    """A copy of the classifier's network, in eval mode, to be changed; NotMitigated if none."""
    if not isinstance(classifier.model, nn.Module):
        raise NotMitigated(
            f"the model is a {type(classifier.model).__name__}; only an nn.Module can be repaired"
        )
    return copy.deepcopy(classifier.model).eval()


def answers(classifier: Classifier, inputs: Tensor, batch: int = 200) -> Tensor:
    """The logits (n, classes) of inputs (n, *shape), raw or 8-bit, without gradients."""
    with torch.no_grad(), classifier.frozen():
        return torch.cat([classifier(scaled(part)) for part in inputs.split(batch)])


@contextmanager
def trainable(network: nn.Module) -> Generator[list[nn.Parameter]]:
    """All weights, with gradients inside; afterwards without, each `requires_grad` as it was."""
    weights = [weight for weight in network.parameters() if weight.dtype.is_floating_point]
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        yield weights
    finally:
        for weight in weights:
            weight.grad = None
        for weight in frozen:
            weight.requires_grad_(False)


def batches(count: int, size: int, steps: int, generator: torch.Generator) -> list[Tensor]:
    """`steps` batches of indices below `count`, going through them again and again."""
    size = min(size, count)
    order = [torch.randperm(count, generator=generator) for _ in range(steps * size // count + 1)]
    return list(torch.cat(order).split(size))[:steps]


def disagreement(logits: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared distance of the probabilities of two sets of logits, 0 to 2.

    Unlike that of the logits themselves it does not care how sure a sure answer is.
    """
    return (F.softmax(logits, 1) - F.softmax(wanted, 1)).square().sum(1).mean()


def furthest(
    accuracy: Callable[[float], float], least: float, lowest: float = 0.0, step: float = 0.1
) -> float:
    """How far from `lowest` to 1 (as tuned) a repair may go and stay at `least`.

    `accuracy(extent)` is tried at equal steps downwards, as it need not fall steadily.

    Raises:
        NotMitigated: not even `lowest` is good enough.
    """
    tries = round((1 - lowest) / step)
    extents = (1 - (1 - lowest) * done / tries for done in range(tries + 1))
    found = next((extent for extent in extents if accuracy(extent) >= least), None)
    if found is None:
        raise NotMitigated(
            f"nothing kept an accuracy of {least:.0%} on the samples: ask for less, or give more samples"
        )
    return found


def done(
    method: str, repaired: Classifier, samples: Samples, record: Record | None = None, **fields: Any
) -> Mitigation:
    """The result of a mitigator, with what the repaired classifier says of the samples."""
    logits = answers(repaired, samples.inputs)
    return Mitigation(
        repaired,
        replace(
            record or Record(method, True),
            samples=len(samples.labels),
            own_labels=samples.own,
            accuracy=(samples.accuracy(samples.logits), samples.accuracy(logits)),
            kept=samples.kept(logits),
            **fields,
        ),
    )
