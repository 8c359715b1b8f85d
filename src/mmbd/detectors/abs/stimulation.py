"""Which neurons, raised by themselves, raise one class whatever the image is.

All of a neuron's positions are set to a few values, and the rest of the network runs on from there. A
backdoor's neuron then raises its target class above all others on nearly every image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.detectors.abs.neurons import CHUNK, Neuron, Raised, around
from mmbd.model.activations import Activation
from mmbd.model.classifier import Classifier
from mmbd.search import memory

# Rows that go through the rest of a network at a time, where what is before is computed but once.
GROWN = 256


def highest(classifier: Classifier, images: Tensor, activation: Activation) -> float:
    """The largest value that goes into an activation on images."""
    chunk = 1 if classifier.reading.rows == "one" else CHUNK
    return max(
        float(around(classifier, part, activation)[0].amax()) for part in images.split(chunk) if len(part)
    )


def rises(
    classifier: Classifier,
    images: Tensor,
    activation: Activation,
    *,
    levels: int,
    reach: float,
    done: Callable[[int], None] = lambda forwards: None,
) -> Tensor:
    """How far logits rise (channels, images, classes) as each channel of a layer is raised from zero.

    Args:
        classifier: frozen by the caller.
        images: (n, *shape) on its device.
        activation: the layer.
        levels: values that a channel is set to, the first of them zero.
        reach: the values lie `reach / levels` times the layer's highest apart.
        done: called with the forward passes of every batch.
    """
    top = max(0.0, highest(classifier, images, activation))
    steps = torch.arange(levels) * (reach * top / levels)
    channels = torch.arange(activation.channels).repeat_interleave(levels).to(images.device)
    values = steps.repeat(activation.channels).to(images.device)
    parts = [
        _raised(_Runner(classifier, part, activation), channels, values, done) for part in images.split(CHUNK)
    ]
    logits = torch.cat(parts, 1).unflatten(0, (-1, levels))
    if not bool(logits.isfinite().all()):
        raise NotEvaluable("the network's answers are not all finite where its neurons are raised")
    return logits[:, 1:].amax(1) - logits[:, 0]


def _raised(runner: _Runner, channels: Tensor, values: Tensor, done: Callable[[int], None]) -> Tensor:
    """The logits (pairs, images, classes) for every pair of a channel and a value."""
    found: list[Tensor] = []
    while sum(map(len, found)) < len(channels):
        start, pairs = sum(map(len, found)), runner.pairs
        logits = runner.run(channels[start : start + pairs], values[start : start + pairs])
        if logits is not None:
            done(len(runner.images) * len(logits))
            found.append(logits)
    return torch.cat(found)


class _Runner:
    """Runs images with raised channels; from the layer on for many at once, where that works."""

    def __init__(self, classifier: Classifier, images: Tensor, activation: Activation) -> None:
        self.classifier, self.images, self.activation = classifier, images, activation
        # Only plain networks let the number of rows change midway.
        self.grows = classifier.reading.rows not in ("one", "two")

    @property
    def pairs(self) -> int:
        """Pairs of a channel and a value to run at once."""
        return max(1, (GROWN if self.grows else CHUNK) // len(self.images))

    def run(self, channels: Tensor, values: Tensor) -> Tensor | None:
        """The logits (pairs, images, classes); None where the rows may not grow and fewer pairs fit."""
        count, classifier = len(self.images), self.classifier
        if self.grows:
            hook = Raised(self.activation, channels, values, count, repeat=True)
            try:
                with hook:
                    output = classifier.answer(classifier.normalised(self.images))
                logits = classifier.reading.logits(output).float()
                if logits.shape == (len(channels) * count, classifier.classes):
                    return logits.unflatten(0, (-1, count))
            except (RuntimeError, NotEvaluable) as error:
                if memory.ran_out(error):
                    raise
                # A shortcut around the layer still has the old number of rows.
            self.grows = False
            return None
        rows = self.images.repeat(len(channels), *[1] * (self.images.dim() - 1))
        if classifier.reading.rows == "one":
            return self._one_by_one(rows, channels, values)
        with Raised(self.activation, channels, values, count, repeat=False):
            return classifier(rows).unflatten(0, (-1, count))

    def _one_by_one(self, rows: Tensor, channels: Tensor, values: Tensor) -> Tensor:
        count, found = len(self.images), list[Tensor]()
        for place, row in enumerate(rows.split(1)):
            pair = slice(place // count, place // count + 1)
            with Raised(self.activation, channels[pair], values[pair], 1, repeat=False):
                found.append(self.classifier(row))
        return torch.cat(found).unflatten(0, (-1, count))


def judged(rise: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The class that each neuron raises, and how far above the others it does where that is least.

    Args:
        rise: (neurons, images, classes).
        labels: (images,) the true classes.

    Returns:
        Classes (neurons,) and scores (neurons,). The score is zero unless all images but two agree on
        the class, and images of that class count for agreement alone.
    """
    two, order = rise.topk(2, 2)
    lead, top = two[..., 0] - two[..., 1], order[..., 0]
    votes = torch.nn.functional.one_hot(top, rise.shape[2]).sum(1)
    count, label = votes.max(1)
    counted = (top == label[:, None]) & (labels != label[:, None])
    score = lead.masked_fill(~counted, torch.inf).amin(1)
    enough = (count >= rise.shape[1] - 2) & counted.any(1)
    return label, score.where(enough, torch.zeros_like(score))


def chosen(neurons: Iterable[Neuron], *, most: int, spread: int, cap: int) -> list[Neuron]:
    """The candidates: those with the highest scores, the first ones of them from several layers.

    Args:
        neurons: any; those whose score is not above zero are left out.
        most: how many there are in all.
        spread: of so many, the first,
        cap: at most this many are of one layer.
    """
    order = sorted(
        (one for one in neurons if one.score > 0),
        key=lambda one: (-one.score, one.activation.index, one.channel),
    )
    layers: Counter[int] = Counter()
    first: list[Neuron] = []
    for one in order:
        layers[one.activation.index] += 1
        if layers[one.activation.index] <= cap and len(first) < min(spread, most):
            first.append(one)
    rest = [one for one in order if one not in first]
    return [*first, *rest][:most]
