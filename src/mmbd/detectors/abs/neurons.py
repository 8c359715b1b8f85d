"""Neurons of a network: what they are, how they are raised, and gradients of what they give.

A neuron is a channel of what goes into an activation function: all positions of it together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.model.activations import Activation, ActivationHook
from mmbd.model.classifier import Classifier

CHUNK = 64  # images that go through the network at a time


@dataclass(frozen=True)
class Neuron:
    """A neuron that raises one class.

    Args:
        activation: the layer.
        channel: which of its channels.
        label: the class.
        score: how far that class rises above any other, in logits, where it rises least.
    """

    activation: Activation
    channel: int
    label: int
    score: float


class Raised(ActivationHook):
    """While active, channels of one activation's input are set to values, each of them in all rows.

    The rows of the input are repeated for that, so that all before them is computed but once.

    Args:
        activation: the layer.
        channels: (pairs,) which channel is set.
        values: (pairs,) to what.
        rows: of one pair, those that the input has.
        repeat: whether the rows of the input have yet to be repeated for all pairs.
    """

    def __init__(
        self, activation: Activation, channels: Tensor, values: Tensor, rows: int, *, repeat: bool
    ) -> None:
        super().__init__(lambda _, output: output)
        self.activation, self.repeat = activation, repeat
        self.channels, self.values = channels.repeat_interleave(rows), values.repeat_interleave(rows)

    def before(self, index: int, given: Tensor) -> Tensor:
        """The layer's input with the channels set."""
        if index != self.activation.index:
            return given
        many = len(self.channels) // len(given) if self.repeat else 1
        raised = given.repeat(many, *[1] * (given.dim() - 1))
        places = torch.arange(len(raised), device=given.device)
        channels_second = raised.movedim(self.activation.axis, 1)
        values = self.values.to(raised).view(-1, *[1] * (raised.dim() - 2))
        channels_second[places, self.channels] = values.expand_as(channels_second[:, 0])
        return raised

    def put(self, given: Tensor, output: Tensor) -> Tensor:
        """In place, unless there are more rows now."""
        return output if len(output) != len(given) else super().put(given, output)


class _Reached(Exception):
    def __init__(self, given: Tensor, output: Tensor) -> None:
        super().__init__()
        self.given, self.output = given, output


class _Until(ActivationHook):
    """Ends the forward pass after the activation with this index."""

    def __init__(self, index: int) -> None:
        super().__init__(self.after)
        self.index = index

    def before(self, index: int, given: Tensor) -> Tensor:
        if index != self.index:
            return given
        self.given = given
        return given.clone()  # the activation may work in place

    def after(self, index: int, output: Tensor) -> Tensor:
        if index == self.index:
            raise _Reached(self.given, output)
        return output


def around(classifier: Classifier, inputs: Tensor, activation: Activation) -> tuple[Tensor, Tensor]:
    """What goes into an activation and what comes out, for inputs (n, *shape); nothing after it runs.

    Raises:
        NotEvaluable: the network takes another way with these inputs and does not get there.
    """
    try:
        with _Until(activation.index):
            classifier(inputs)
    except _Reached as reached:
        rows = 2 if classifier.reading.rows == "two" and len(inputs) == 1 else len(inputs)
        if len(reached.given) != rows:
            raise NotEvaluable(
                f"{len(reached.given)} rows reach the activation {activation.name} for {rows} inputs, so "
                "its neurons are not those of single images"
            ) from None
        return reached.given[: len(inputs)], reached.output[: len(inputs)]
    raise NotEvaluable(f"the network does not get to its activation {activation.name} with every input")


def channel_sums(activation: Activation, values: Tensor) -> Tensor:
    """(n, channels): the values of each channel of a layer, added up."""
    moved = values.movedim(activation.axis, 1)
    return moved.flatten(2).sum(2) if moved.dim() > 2 else moved


def gradients(
    classifier: Classifier, inputs: Tensor, activation: Activation, channels: Tensor, others: float
) -> Tensor:
    """The gradients (n, *shape) at inputs of a loss that is low where one neuron of each is high.

    The loss is minus the neuron before and after its activation function, plus `others` times all
    other neurons of the layer, before and after.

    Args:
        classifier: frozen by the caller.
        inputs: (n, *shape) valid ones, on its device.
        activation: the layer.
        channels: (n,) the neuron for each input.
        others: the weight of the other neurons.

    Raises:
        NotEvaluable: the layer does not depend on the input, or is not finite.
    """
    found: list[Tensor] = []
    chunk = 1 if classifier.reading.rows == "one" else CHUNK
    for part, own in zip(inputs.split(chunk), channels.split(chunk), strict=True):
        x = part.detach().requires_grad_()
        sums = sum(channel_sums(activation, values) for values in around(classifier, x, activation))
        assert isinstance(sums, Tensor)
        loss = others * sums.sum() - (1 + others) * sums.gather(1, own[:, None]).sum()
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, x, allow_unused=True)
        if gradient is None:
            raise NotEvaluable("no gradient reaches the input: the model is not differentiable")
        found.append(gradient)
    gradient = torch.cat(found)
    if not bool(gradient.isfinite().all()):
        raise NotEvaluable(f"the gradients of the activation {activation.name} are not all finite")
    return gradient
