"""The last linear layer of a classifier: its weights, and what goes into it.

It is found by watching a forward pass at the level of torch's functions, as activations are
(`activations`), so modules, functional calls and `features @ weights` are the same thing: it is the
product of features and weights whose result is the logits. A number that all classes of an input
have in common, as a final log-softmax subtracts it, makes no difference.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmbd.base.errors import NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.domain import smooth

PROBES = 3  # made-up inputs of each of two kinds that the layer is recognised by

# By the function's name: where its features, weights and bias are among its arguments, and their
# names. A convolution counts where one window is all of its input.
LAYERS: dict[str, tuple[tuple[int, str], tuple[int, str], tuple[int, str] | None]] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), ((0, "input"), (1, "weight"), (2, "bias"))),
    "addmm": ((1, "mat1"), (2, "mat2"), (0, "input")),
    "matmul": ((0, "input"), (1, "other"), None),
    "mm": ((0, "input"), (1, "mat2"), None),
}
TRANSPOSED = frozenset({"addmm", "matmul", "mm"})  # these take the weights as (features, classes)


@dataclass(frozen=True)
class Head:
    """A classifier's last linear layer: logits = features @ weight.T + bias.

    Args:
        weight: (classes, features), float64 on the CPU.
        bias: (classes,), float64 on the CPU; zeros where there is none.
        place: which of the products with so many rows of weights it is in a forward pass, from 0.
        pooled: whether its features are one number a channel of what lies before it, as behind a pooling
            over all places; not those of a hidden layer, or one number a channel and place.
    """

    weight: Tensor
    bias: Tensor
    place: int
    pooled: bool = False

    def features(self, classifier: Classifier, inputs: Tensor, *, batch: int = 200) -> Tensor:
        """What goes into the layer for valid inputs (n, *shape): (n, features), float64 on the CPU.

        Args:
            classifier: the one that the layer was found in.
            inputs: on any device.
            batch: the most inputs at a time.
        """
        found: list[Tensor] = []
        # One call for one input where the network takes no more, so that places stay what they are.
        for part in inputs.split(1 if classifier.reading.rows == "one" else batch):
            products = _watched(classifier, part)[0]
            found.append(products[self.place].features[: len(part)].double().cpu())
        return torch.cat(found)


@dataclass(frozen=True)
class _Product:
    features: Tensor  # (n, features)
    weight: Tensor  # (classes, features)
    bias: Tensor | None
    pooled: bool  # as in `Head`


class _Products(TorchFunctionMode):
    """Keeps the operands of every product of features with one row of weights a class.

    To the features of the product at a place `shifts` (n, features), if any, are added. `channels` are those
    of the last tensor (n, channels, ...) with several places; None where a product has come after it.
    """

    def __init__(self, classes: int, place: int = -1, shifts: Tensor | None = None) -> None:
        super().__init__()
        self.classes, self.place, self.shifts = classes, place, shifts
        self.products: list[_Product] = []
        self.channels: int | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        # `linear` for F.linear, `matmul` for the operator @, `addmm` for aten.addmm.default.
        name = getattr(func, "__name__", "").strip("_").split(".")[0]
        if name in LAYERS:
            before = len(self.products)
            self._keep(name, args, kwargs)
            if self.shifts is not None and before == self.place < len(self.products):
                args, kwargs = _shifted(LAYERS[name][0], self.shifts, args, kwargs)
            self.channels = None
        output = func(*args, **kwargs)
        if isinstance(output, Tensor) and output.dim() > 2 and output.shape[2:].numel() > 1:
            self.channels = output.shape[1]
        return output

    def _keep(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        where = LAYERS[name]
        features, weight, bias = (None if one is None else _argument(*one, args, kwargs) for one in where)
        if not (isinstance(features, Tensor) and isinstance(weight, Tensor)):
            return
        if features.dim() < 2 or weight.dim() < 2 or (name in TRANSPOSED and weight.dim() > 2):
            return
        weight = weight.T if name in TRANSPOSED else weight.flatten(1)
        length = features.flatten(1).shape[1]
        if tuple(weight.shape) != (self.classes, length):
            return
        # The network may go on to work in place.
        pooled = length == self.channels
        self.products.append(_Product(features.detach().flatten(1).clone(), weight.detach(), bias, pooled))


def _argument(place: int, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return args[place] if place < len(args) else kwargs.get(name)


def _shifted(
    where: tuple[int, str], shifts: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a product, with shifts (n, features) added to its features."""
    place, name = where
    features: Tensor = _argument(place, name, args, kwargs)
    moved = features + shifts.to(features).view(features.shape)
    if place < len(args):
        return (*args[:place], moved, *args[place + 1 :]), kwargs
    return args, {**kwargs, name: moved}


@contextmanager
def shifting(head: Head, shifts: Tensor) -> Generator[None]:
    """Forward passes inside have shifts (n, features) added to what goes into the last linear layer.

    Each is of a batch of n inputs; gradients pass to what lies before the layer, and to its weights.
    """
    with _Products(len(head.weight), head.place, shifts):
        yield


def _watched(classifier: Classifier, inputs: Tensor) -> tuple[list[_Product], Tensor]:
    """The products of one forward pass, and the logits that came out."""
    watching = _Products(classifier.classes)
    with torch.no_grad(), classifier.frozen(), watching:
        logits = classifier(inputs)
    return watching.products, logits


def find(classifier: Classifier) -> Head:
    """The last linear layer of a classifier.

    Raises:
        NotEvaluable: no layer that can be seen has the logits as its result.
    """
    count = 1 if classifier.reading.rows == "one" else PROBES
    inputs = torch.cat([made_up(classifier, count, kind, "last layer") for kind in ("smooth", "uniform")])
    parts = inputs.split(1 if classifier.reading.rows == "one" else len(inputs))
    watched = [_watched(classifier, part) for part in parts]
    logits = torch.cat([one.double().cpu() for _, one in watched])
    passes = [products for products, _ in watched]
    for place in reversed(range(min(map(len, passes)))):
        features = torch.cat([products[place].features.double().cpu() for products in passes])
        last = passes[0][place]
        weight = last.weight.double().cpu()
        if len(features) != len(logits):
            continue
        bias = _bias(logits - features @ weight.T, last.bias, _tolerance(classifier, logits))
        if bias is not None:
            return Head(weight, bias, place, last.pooled)
    raise NotEvaluable(
        "the last linear layer cannot be told: no product of features and weights that can be seen has "
        "the logits as its result. The network may go on after it (a norm, a scale, pooling), or be a "
        "compiled program (TorchScript)"
    )


def made_up(classifier: Classifier, count: int, kind: str, *key: str | int) -> Tensor:
    """Random valid inputs (count, *shape), on the classifier's device.

    Args:
        classifier: whose inputs.
        count: how many.
        kind: "smooth" for such as vary slowly along their axes, "uniform" for noise.
        *key: what they depend on.
    """
    domain = classifier.domain
    draw = {"smooth": lambda generator: smooth(domain, generator), "uniform": domain.sample}[kind]
    drawn = [draw(generator_for("made-up inputs", kind, *key, number)) for number in range(count)]
    return torch.stack(drawn).to(classifier.device)


def _tolerance(classifier: Classifier, logits: Tensor) -> float:
    """How far rounding may take logits from those that are computed here, in logits."""
    share = 3e-2 if torch.finfo(classifier.dtype).bits == 16 else 1e-3
    return share * max(float(logits.abs().max()), 1e-12)


def _bias(rest: Tensor, given: Tensor | None, tolerance: float) -> Tensor | None:
    """What is added to a product to give the logits; None where it is not the same for all inputs.

    Args:
        rest: the logits without the product, (n, classes).
        given: the layer's own bias, if it has one.
        tolerance: in logits.
    """
    own = torch.zeros(rest.shape[1]) if given is None else given.detach()
    own = own.double().cpu().expand(rest.shape[1])
    left = rest - own
    left = left - left.mean(1, keepdim=True)  # what all classes have in common
    if float(left.abs().max()) <= tolerance:
        return own
    added = left.mean(0)  # after the product, as in features @ weights + bias
    return own + added if float((left - added).abs().max()) <= tolerance else None
