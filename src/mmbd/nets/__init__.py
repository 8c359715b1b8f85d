"""The architectures of the paper and small ones for CPUs, by name.

Layer names follow the widely copied CIFAR implementations (`conv1`, `layer1.0.bn2`, `shortcut.0`,
`linear`, `features.3`), so that state dicts trained with those load without renaming; those for
large images follow torchvision's (`downsample.0`, `fc`).
"""

from __future__ import annotations

import difflib
import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping

from torch import nn

from mmbd.nets.dgcnn import dgcnn
from mmbd.nets.imagenet import resnet18_imagenet, resnet34_imagenet
from mmbd.nets.mobilenet import mobilenet
from mmbd.nets.plain import cnn, lenet, m5, mlp, vgg16
from mmbd.nets.pointnet import pointnet
from mmbd.nets.resnet import (
    preact_resnet18,
    resnet8,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet56,
    resnet110,
)

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "preact_resnet18": preact_resnet18,
    "vgg16": vgg16,
    "mobilenet": mobilenet,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet18_imagenet": resnet18_imagenet,
    "resnet34_imagenet": resnet34_imagenet,
    "cnn": cnn,
    "lenet": lenet,
    "mlp": mlp,
    "m5": m5,
    "dgcnn": dgcnn,
    "pointnet": pointnet,
}

# Arguments that change which weights there are, so that a state dict tells them by its names.
ALTERNATIVES: tuple[Mapping[str, object], ...] = ({"shortcut": "A"},)


def alternatives(name: str, given: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Other arguments that a state dict for `name` may have been made with, but for `given`."""
    if name in ARCHITECTURES:
        known = inspect.signature(ARCHITECTURES[name]).parameters
        for arguments in ALTERNATIVES:
            if known.keys() >= arguments.keys() and given.keys().isdisjoint(arguments):
                yield arguments


def default(name: str, argument: str) -> object:
    """The default value of an argument of the architecture `name`, None where it takes none."""
    parameter = inspect.signature(ARCHITECTURES[name]).parameters.get(argument)
    return None if parameter is None else parameter.default


def build(name: str, *, classes: int, input_shape: tuple[int, ...], **arguments: object) -> nn.Module:
    """Make the network `name` for inputs of `input_shape` (without the batch) and `classes` logits.

    `arguments` go to the architecture's own function (see its keyword-only parameters).

    Raises:
        ValueError: no such architecture, or it takes no such argument or none of that kind.
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"unknown architecture {name!r}{hint}; built in: {', '.join(ARCHITECTURES)}")
    make = ARCHITECTURES[name]
    known = [p for p in inspect.signature(make).parameters if p not in ("classes", "input_shape")]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(
            f"architecture {name!r} takes no argument {unknown[0]!r}; it takes: {', '.join(known)}"
        )
    for key, value in arguments.items():
        if not _alike(value, default(name, key)):
            raise ValueError(
                f"architecture {name!r} takes for {key} a value such as {default(name, key)!r}, "
                f"got {_short(value)}"
            )
    return make(classes=classes, input_shape=input_shape, **arguments)


def _alike(value: object, usual: object) -> bool:
    """Whether an argument is of the kind of its default value. A text times a number is a text."""
    if isinstance(usual, tuple):
        return isinstance(value, tuple | list) and all(_alike(each, 0) for each in value)
    if isinstance(usual, str):
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    return isinstance(value, numbers.Integral if isinstance(usual, int) else numbers.Real)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
