"""Gradients at many inputs at once, of losses whose derivative by the logits is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search.batch import rivals

# slope(logits, labels) -> the derivative of each row's loss by its logits, (batch, classes).
Slope = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The slope of each row's cross-entropy with its label: softmax minus one-hot."""
    return logits.softmax(1).scatter_add_(1, labels[:, None], -torch.ones_like(labels[:, None].to(logits)))


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The slope of each row's margin: one at the label, minus one at its highest rival."""
    slope = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)
    return slope.scatter_(1, rivals(logits, labels)[1], -1.0)


def gradients(
    classifier: Classifier, inputs: Tensor, labels: Tensor, slope: Slope, *, chunk: int
) -> tuple[Tensor, Tensor]:
    """The logits (batch, classes) at inputs (batch, *shape), and the gradients there (batch, *shape).

    Args:
        classifier: frozen by the caller.
        inputs: valid ones, on the classifier's device.
        labels: (batch,) what `slope` gets beside the logits.
        slope: the derivative of every row's loss by its logits.
        chunk: the most inputs that go through the network at a time (`memory.quick_batch`).

    Raises:
        NotEvaluable: no gradient reaches the input, or logits are not finite.
    """
    answers: list[Tensor] = []
    found: list[Tensor] = []
    for part, wanted in zip(inputs.split(chunk), labels.split(chunk), strict=True):
        x = part.detach().requires_grad_()
        logits = classifier(x)
        values = logits.detach()
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits, x, slope(values, wanted), allow_unused=True)
        if gradient is None:
            raise NotEvaluable("no gradient reaches the input: the model is not differentiable")
        answers.append(values)
        found.append(gradient)
    logits = torch.cat(answers)
    if not bool(logits.isfinite().all()):
        raise NotEvaluable("the network's answers to valid inputs are not all finite")
    return logits, torch.cat(found)
