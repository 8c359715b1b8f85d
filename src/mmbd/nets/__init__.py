"""The architectures of the paper and small ones for CPUs, by name.

Layer names follow the widely copied CIFAR implementations (`conv1`, `layer1.0.bn2`, `shortcut.0`,
`linear`, `features.3`), so that state dicts trained with those load without renaming; those for
large images follow torchvision's (`downsample.0`, `fc`), and the transformer timm's (`blocks.0.attn.qkv`).
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from mmbd.base import choose
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
from mmbd.nets.vit import vit


@dataclass(frozen=True)
class Architecture:
    """A row of `ARCHITECTURES`.

    Args:
        make: makes the network; classes= and input_shape=, and others that have default values.
        title: what it is, in a line.
    """

    make: Callable[..., nn.Module]
    title: str

    @property
    def defaults(self) -> dict[str, object]:
        """The arguments it takes beside the classes and the shape, with their default values."""
        parameters = inspect.signature(self.make).parameters.values()
        return {each.name: each.default for each in parameters if each.name not in ("classes", "input_shape")}


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(resnet18, "ResNet-18 for 32 to 64 pixels, 11.2 million weights: CIFAR-10's"),
    "resnet34": Architecture(resnet34, "ResNet-34 for 32 to 64 pixels: the paper's TinyImageNet network"),
    "preact_resnet18": Architecture(
        preact_resnet18, "PreActResNet-18, usual in WaNet and input-aware attacks"
    ),
    "vgg16": Architecture(vgg16, "VGG-16 with batch normalisation: the paper's CIFAR-100 network"),
    "mobilenet": Architecture(mobilenet, "MobileNetV2 for small images: the paper's GTSRB network"),
    "resnet8": Architecture(resnet8, "three stages of one block, 78 thousand weights, for CPUs"),
    "resnet20": Architecture(resnet20, "three stages of three blocks, 0.27 million weights"),
    "resnet32": Architecture(resnet32, "three stages of five blocks, 0.46 million weights"),
    "resnet56": Architecture(resnet56, "three stages of nine blocks, 0.86 million weights"),
    "resnet110": Architecture(resnet110, "three stages of eighteen blocks, 1.7 million weights"),
    "resnet18_imagenet": Architecture(resnet18_imagenet, "ResNet-18 as torchvision has it, from 64 pixels"),
    "resnet34_imagenet": Architecture(resnet34_imagenet, "ResNet-34 as torchvision has it, from 64 pixels"),
    "cnn": Architecture(cnn, "a small VGG: 3x3 convolutions and pooling"),
    "lenet": Architecture(lenet, "LeNet-5: two 5x5 convolutions, then linear layers"),
    "vit": Architecture(vit, "a small vision transformer for 28 to 96 pixels, 0.14 million weights"),
    "mlp": Architecture(mlp, "a multi-layer perceptron on the flattened input"),
    "m5": Architecture(m5, "M5 for raw sound: 1-D convolutions"),
    "dgcnn": Architecture(dgcnn, "DGCNN for point clouds: the paper's ModelNet40 network"),
    "pointnet": Architecture(pointnet, "a small PointNet for point clouds, without alignment"),
}

# Arguments that change which weights there are, so that a state dict tells them by its names.
ALTERNATIVES: tuple[Mapping[str, object], ...] = ({"shortcut": "A"},)


def alternatives(name: str, given: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Other arguments that a state dict for `name` may have been made with, but for `given`."""
    if name in ARCHITECTURES:
        known = ARCHITECTURES[name].defaults
        for arguments in ALTERNATIVES:
            if known.keys() >= arguments.keys() and given.keys().isdisjoint(arguments):
                yield arguments


def default(name: str, argument: str) -> object:
    """The default value of an argument of the architecture `name`, None where it takes none."""
    return ARCHITECTURES[name].defaults.get(argument)


def build(name: str, *, classes: int, input_shape: tuple[int, ...], **arguments: object) -> nn.Module:
    """Make the network `name` for inputs of `input_shape` (without the batch) and `classes` logits.

    `arguments` go to the architecture's own function (see its keyword-only parameters).

    Raises:
        ValueError: no such architecture, or it takes no such argument or none of that kind.
    """
    if name not in ARCHITECTURES:
        raise ValueError(choose.unknown("architecture", name, ARCHITECTURES))
    known = ARCHITECTURES[name].defaults
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(
            f"architecture {name!r} takes no argument {unknown[0]!r}; it takes: {', '.join(known)}"
        )
    for key, value in arguments.items():
        if not _alike(value, known[key]):
            raise ValueError(
                f"architecture {name!r} takes for {key} a value such as {known[key]!r}, got {_short(value)}"
            )
    return ARCHITECTURES[name].make(classes=classes, input_shape=input_shape, **arguments)


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
