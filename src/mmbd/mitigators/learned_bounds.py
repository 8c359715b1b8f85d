"""Bounds under training: which activations, where they start, what the bounded network answers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.base.errors import NotMitigated
from mmbd.mitigators.inputs import BoundedInputs
from mmbd.mitigators.mitigator import Mitigation, Record, done, duplicate
from mmbd.model.activations import INPUTS, Activation, ActivationHook, find, select
from mmbd.model.bounded import Bounded, Limit, limiting
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples

Layers = str | Sequence[str]


class Curves:
    """Named numbers, one a step."""

    def __init__(self) -> None:
        self.lists: dict[str, list[float]] = {}

    def add(self, **values: float | Tensor) -> None:
        """The numbers of one step."""
        for name, value in values.items():
            number = value.item() if isinstance(value, Tensor) else value
            self.lists.setdefault(name, []).append(number)


@dataclass(frozen=True)
class LearnedBounds:
    """Bounds under training: leaf tensors that need gradients, by the index of their activation.

    `highest` is what the samples reach, (channels,) by index. Those on the inputs, `entering`, are in what is
    `repaired` only.
    """

    classifier: Classifier
    samples: Samples
    activations: tuple[Activation, ...]
    highest: dict[int, Tensor]
    bounds: dict[int, Tensor]
    fold: bool = False
    entering: BoundedInputs | None = None

    @classmethod
    def on(
        cls,
        classifier: Classifier,
        samples: Samples,
        layers: Layers,
        relative: float | None,
        absolute: float = 0.0,
    ) -> LearnedBounds:
        """Bounds that start at `relative` times the highest activation, or else at `absolute`."""
        chosen = activations(classifier, layers)
        highest = {
            index: value.clamp_min(0)
            for index, value in quantiles(classifier, chosen, samples.inputs, 1.0).items()
        }
        bounds = {
            activation.index: highest[activation.index] * relative
            if relative is not None
            else torch.full_like(highest[activation.index], absolute)
            for activation in chosen
        }
        for z in bounds.values():
            z.requires_grad_()
        return cls(classifier, samples, chosen, highest, bounds)

    def limits(self, bounds: dict[int, Tensor] | None = None) -> tuple[Limit, ...]:
        """The bounds (default: those under training) with their activations."""
        values = self.bounds if bounds is None else bounds
        return tuple(
            Limit(activation, values[activation.index], fold=self.fold) for activation in self.activations
        )

    def logits(self, indices: Tensor | None = None) -> Tensor:
        """The bounded network's logits on the samples, or on those at `indices`."""
        inputs = self.samples.inputs if indices is None else self.samples.inputs[indices]
        with limiting(self.limits()):
            return self.classifier(inputs)

    def norm(self) -> Tensor:
        """sum_l |z_l|."""
        return torch.stack([torch.linalg.vector_norm(z) for z in self.bounds.values()]).sum()

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of the optimiser on the bounds, none of which falls below zero."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for z in self.bounds.values():
                z.clamp_(min=0)

    def snapshot(self) -> dict[int, Tensor]:
        """The bounds as they are now."""
        return {index: z.detach().clone() for index, z in self.bounds.items()}

    def repaired(self, bounds: dict[int, Tensor] | None = None) -> Classifier:
        """A copy of the classifier with these bounds, or those under training, in it."""
        network = Bounded(duplicate(self.classifier), self._all(bounds))
        return self.classifier.around(network)

    def _all(self, bounds: dict[int, Tensor] | None) -> tuple[Limit, ...]:
        before = () if self.entering is None else (self.entering.inside(self.classifier),)
        return (*before, *self.limits(bounds))

    def finish(self, bounds: dict[int, Tensor], record: Record, started: float) -> Mitigation:
        """The repaired classifier and its record."""
        return done(
            record.method,
            self.repaired(bounds),
            self.samples,
            record,
            layers=described(self.classifier, self._all(bounds), self.samples.inputs, self.highest),
            seconds=time.perf_counter() - started,
        )


def described(
    classifier: Classifier, limits: Iterable[Limit], inputs: Tensor, highest: Mapping[int, Tensor]
) -> tuple[dict[str, object], ...]:
    """What a record says of all bounds; `highest` is what activations reach on these inputs."""
    held = list(limits)
    entering = [limit.activation for limit in held if limit.activation.index == INPUTS]
    reached = {**highest, **quantiles(classifier, entering, inputs, 1.0)}
    return tuple(layer(limit, reached[limit.activation.index]) for limit in held)


def layer(limit: Limit, highest: Tensor) -> dict[str, object]:
    """What a record says of one activation's bounds, a number a channel each.

    Of bounds by place, of which there may be a hundred thousand, it has each channel's highest upper
    and lowest lower one, and besides `places`, how many there are along each axis, and `least`, each
    channel's lowest upper one. All of them are in the network, and in its file. Those on inputs are in the
    network's units.
    """
    activation, rows = limit.activation, _by_channel
    said: dict[str, object] = {
        "name": activation.name,
        "channels": activation.channels,
        "fold": limit.fold,
        "upper": rows(activation, limit.upper).amax(1).tolist(),
        "lower": None if limit.lower is None else rows(activation, limit.lower).amin(1).tolist(),
        "highest": highest.tolist(),
    }
    if limit.upper.dim() > 1:
        places = activation.shape[1:] if activation.axis == 1 else activation.shape[:-1]
        said |= {"places": list(places), "least": rows(activation, limit.upper).amin(1).tolist()}
    return said


def _by_channel(activation: Activation, bounds: Tensor) -> Tensor:
    """Bounds of either form as (channels, places)."""
    return bounds[:, None] if bounds.dim() == 1 else activation.channel_rows(bounds[None])


def activations(classifier: Classifier, layers: Layers) -> tuple[Activation, ...]:
    """The activations called `layers`; NotMitigated where the network has none to bound."""
    found = find(classifier)
    if not found:
        raise NotMitigated(
            "no activation that could be bounded was found: MM-BM needs a network of torch "
            "functions with ReLU, GELU or the like"
        )
    return select(found, layers if isinstance(layers, str) else list(layers))


def quantiles(
    classifier: Classifier, chosen: Iterable[Activation], inputs: Tensor, share: float, batch: int = 100
) -> dict[int, Tensor]:
    """The `share` quantile of every channel's activations on `inputs`, (channels,) by index.

    1 is the highest. What lies above is all that is kept in memory.
    """
    by_index = {activation.index: activation for activation in chosen}
    above: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for part in inputs.split(batch):

        def look(index: int, output: Tensor, size: int = len(inputs)) -> Tensor:
            activation = by_index.get(index)
            if activation is not None:
                values = activation.channel_rows(output)
                total = size * (values.shape[1] // len(output))
                counts[index] = max(1, round(total * (1 - share)))
                values = values.topk(min(counts[index], values.shape[1]), dim=1).values
                if index in above:
                    values = torch.cat((above[index], values), dim=1)
                above[index] = values.topk(min(counts[index], values.shape[1]), dim=1).values
            return output

        if INPUTS in by_index:
            look(INPUTS, classifier.normalised(part))
        if set(by_index) - {INPUTS}:
            with torch.no_grad(), classifier.frozen(), ActivationHook(look):
                classifier(part)
    return {index: values[:, -1] for index, values in above.items()}
