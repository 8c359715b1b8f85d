"""Inputs that excite the features before the last layer: the search of TrojanNetDetector without data.

A mask and a pattern raise a weighted sum of the features, and the weights rise with them, on the
simplex (Wang et al., ECCV 2020, and the script for data-free detection).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search.memory import BatchSize

# By the name of a product's function: which of its arguments is what goes into it.
PRODUCTS = {"linear": 0, "matmul": 0, "mm": 0, "addmm": 1, "conv1d": 0, "conv2d": 0, "conv3d": 0}


class _Watch(TorchFunctionMode):
    """Keeps what goes into the last product with a result a class, and what comes out.

    Gradients go through the ReLU of number `through` as if it were none, if there is one.
    """

    def __init__(self, classes: int, through: int = 0) -> None:
        super().__init__()
        self.classes, self.through = classes, through
        self.relus = self.relus_before = 0
        self.features: Tensor | None = None
        self.product: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, own = kwargs or {}, getattr(func, "__name__", "")
        name = own.strip("_").split(".")[0]
        if name == "relu":
            self.relus += 1
            if self.relus == self.through and args:
                return _through(args[0], own.endswith("_") or kwargs.get("inplace") or True in args[1:])
        output = func(*args, **kwargs)
        place = PRODUCTS.get(name, len(args))
        if place < len(args) and isinstance(output, Tensor) and output[0].numel() == self.classes:
            self.features, self.product = args[place].flatten(1), output.flatten(1)
            self.relus_before = self.relus
        return output


def _through(before: Tensor, inplace: bool) -> Tensor:
    held = before.clone() if inplace else before
    output = held.detach().clamp_min(0) + (held - held.detach())
    return before.copy_(output) if inplace else output


def watched(classifier: Classifier, inputs: Tensor, through: int = 0) -> tuple[Tensor, Tensor, int]:
    """Logits and features of inputs, with gradients, and how many ReLUs come before the last layer.

    Args:
        classifier: frozen by the caller.
        inputs: (n, *shape), on its device.
        through: the number of the ReLU, from 1, that gradients go through as if it were none.

    Raises:
        NotEvaluable: the last linear layer cannot be told.
    """
    if classifier.reading.rows == "one" and len(inputs) > 1:
        parts = [watched(classifier, one, through) for one in inputs.split(1)]
        return torch.cat([one[0] for one in parts]), torch.cat([one[1] for one in parts]), parts[0][2]
    with _Watch(classifier.classes, through) as watch:
        logits = classifier(inputs)
    if watch.features is None or watch.product is None:
        raise NotEvaluable("the last linear layer cannot be told: no product has a result a class")
    # What is added to the logits may differ between classes (a bias) or inputs (a log-softmax).
    rest = (logits - watch.product[: len(logits)].float()).detach()
    rest = rest - rest.mean(1, keepdim=True)
    if float((rest - rest[:1]).abs().max()) > 1e-2 * max(float(logits.detach().abs().max()), 1e-12):
        raise NotEvaluable("the last linear layer cannot be told: the network goes on after it")
    return logits, watch.features[: len(logits)], watch.relus_before


def on_simplex(values: Tensor) -> Tensor:
    """The nearest point to values (n,) whose numbers are at least 0 and sum to 1."""
    order = values.sort(descending=True).values
    above = (order.cumsum(0) - 1) / torch.arange(1, len(values) + 1, device=values.device)
    last = int((order > above).sum()) - 1
    return (values - above[last]).clamp_min(0)


@dataclass(frozen=True)
class Recovered:
    """Where the search ended: all in shares of the box, one row a start.

    Args:
        start: the inputs it began with, (starts, *shape).
        mask: (starts, *shape), 0 to 1.
        pattern: (starts, *shape), which may leave the box; inputs do not.
        inputs: (starts, *shape) with the pattern under the mask, valid.
        curve: the objective after every step.
    """

    start: Tensor
    mask: Tensor
    pattern: Tensor
    inputs: Tensor
    curve: tuple[float, ...]


def ascend(
    start: Tensor,
    slope: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    features: int,
    *,
    steps: int,
    step: float,
    gamma: float,
    first: float = 0.0,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> Recovered:
    """Raise weighted features by signs of gradients, first from each start alone, then from their mean.

    Args:
        start: (starts, *shape), shares of the box.
        slope: of inputs and weights (features,), the features (starts, features) and the gradient of
            their weighted sum by each input.
        features: how many there are.
        steps: of each half.
        step: what masks, patterns and weights change by.
        gamma: the weight of the masks' L1 norm.
        first: where patterns start, as a share of the box; they go no further from it than by 1.
        progress: hears of the gradient evaluations so far.
    """
    count, curve = len(start), list[float]()
    mask, pattern = torch.zeros_like(start), torch.full_like(start, first)
    centre = pattern
    weights = torch.full((features,), 1 / features, dtype=torch.float64, device=start.device)
    for half in range(2):
        if half == 1:
            mask = mask.mean(0, keepdim=True).expand_as(start)
            pattern = centre = pattern.mean(0, keepdim=True).expand_as(start)
        for _ in range(steps):
            free = torch.lerp(start, pattern, mask)
            values, gradient = slope(free.clamp(0, 1), weights)
            mean = values.double().mean(0)
            curve.append(float(mean @ weights) - gamma * float(mask.double().sum()))
            gradient = torch.where((free >= 0) & (free <= 1), gradient, 0) / count
            by_mask = gradient * (pattern - start) - gamma * mask.sign()
            by_pattern = gradient * mask
            pattern = (pattern + step * by_pattern.sign() - centre).clamp(-1, 1) + centre
            mask = (mask + step * by_mask.sign() - step * gamma).clamp(0, 1)
            weights = on_simplex(weights + step * mean.sign())
            progress(count * len(curve))
    inputs = torch.lerp(start, pattern, mask).clamp(0, 1)
    return Recovered(start, mask.contiguous(), pattern.contiguous(), inputs, tuple(curve))


def slopes(
    classifier: Classifier, through: int, size: BatchSize, low: Tensor, extent: Tensor
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """What `ascend` takes as `slope`, with at most `size` inputs in the network at a time.

    Args:
        classifier: frozen by the caller.
        through: see `watched`.
        size: halved where memory runs out.
        low: the lowest input, as it broadcasts to inputs.
        extent: of the box, likewise.
    """

    def part(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        x = (low + extent * inputs).requires_grad_()
        _, features, _ = watched(classifier, x, through)
        gradient = None
        if features.requires_grad:
            wanted = weights.to(features).expand_as(features)
            (gradient,) = torch.autograd.grad(features, x, wanted, allow_unused=True)
        if gradient is None:
            raise NotEvaluable("no gradient reaches the input: the model is not differentiable")
        if not bool(features.isfinite().all()):
            raise NotEvaluable("what goes into the last layer is not finite for all valid inputs")
        return features.detach(), gradient * extent

    def slope(inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        parts = size.run(lambda: [part(one, weights) for one in inputs.split(size.size)])
        return torch.cat([one[0] for one in parts]), torch.cat([one[1] for one in parts])

    return slope
