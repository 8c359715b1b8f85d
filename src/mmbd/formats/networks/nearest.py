"""Which built-in network a state dict looks like, by its names and shapes: advice for messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mmbd import nets
from mmbd.base.text import listed
from mmbd.formats.networks.envelopes import StateDict
from mmbd.formats.networks.leftovers import harmless
from mmbd.formats.networks.readings import OPTIONAL, Reading, Wanted, bare, readings
from mmbd.nets.vit import read_sizes

# The share of all names that must agree. Related networks have half of their names in common.
ALIKE = 0.97
# Larger files are not worth the time: the largest built-in network has under a thousand names.
MOST_NAMES = 5000
MOST = 3
MOST_BLOCKS = 48  # of a transformer; each of them costs time
# What no name or shape tells, so that it is always said, for somebody to look at.
UNTOLD = ("heads",)
KINDS: dict[str, tuple[int, ...]] = {
    "m5": (1, 8000),
    "dgcnn": (3, 1024),
    "pointnet": (3, 1024),
    "resnet18_imagenet": (3, 224, 224),
    "resnet34_imagenet": (3, 224, 224),
}
IMAGE = (3, 32, 32)
# A name that a network has and one that it lacks: most need not be built to be ruled out.
MARKS: dict[str, tuple[str, str]] = {
    "resnet18": ("layer4.1.bn2.bias", "layer1.2.bn2.bias"),
    "resnet34": ("layer4.2.bn2.bias", "layer1.3.bn2.bias"),
    "preact_resnet18": ("layer4.1.bn2.bias", "layer1.2.bn2.bias"),
    "vgg16": ("features.41.bias", "features.44.bias"),
    "mobilenet": ("layers.16.bn3.bias", "layers.17.bn3.bias"),
    "resnet8": ("layer3.0.bn2.bias", "layer3.1.bn2.bias"),
    "resnet20": ("layer3.2.bn2.bias", "layer3.3.bn2.bias"),
    "resnet32": ("layer3.4.bn2.bias", "layer3.5.bn2.bias"),
    "resnet56": ("layer3.8.bn2.bias", "layer3.9.bn2.bias"),
    "resnet110": ("layer3.17.bn2.bias", "layer3.18.bn2.bias"),
    "resnet18_imagenet": ("layer4.1.bn2.bias", "layer1.2.bn2.bias"),
    "resnet34_imagenet": ("layer4.2.bn2.bias", "layer1.3.bn2.bias"),
    "vit": ("blocks.0.attn.qkv.bias", " "),
}


@dataclass(frozen=True)
class Guess:
    """A built-in network, arguments and an input shape that a state dict may be for."""

    arch: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]

    @property
    def flags(self) -> str:
        arguments = "".join(
            f" --arch-arg {key}={value}"
            for key, value in self.arguments.items()
            if key in UNTOLD or value != nets.default(self.arch, key)
        )
        return f"--arch {self.arch}{arguments} --input {'x'.join(map(str, self.shape))}"

    def called(self, name: str) -> bool:
        """Whether `name`, as `architecture.label` writes it, is this network."""
        arch, _, said = name.partition("(")
        return arch == self.arch and all(
            f"{key}={value!r}" in said or (f"{key}=" not in said and value == nets.default(arch, key))
            for key, value in self.arguments.items()
        )


def hint(found: list[StateDict], words: str, name: str = "") -> str:
    """`words` with what to try, "" where the names look like no built-in network's.

    What has been tried, the network called `name`, is no advice.
    """
    guesses = {guess.arch: guess for guess in reversed(nearest(found)) if not guess.called(name)}
    if not guesses:
        return ""
    flags = " or ".join(guess.flags for guess in reversed(guesses.values()))
    return f"{words}{listed(reversed(guesses))}: try {flags}"


def nearest(found: list[StateDict]) -> list[Guess]:
    """The built-in networks whose names a state dict has, the best first."""
    scored: list[tuple[float, Guess]] = []
    likely = [item for item in found if not item.aside and len(item.tensors) <= MOST_NAMES]
    for source in sorted(likely, key=lambda item: -len(item.tensors))[:MOST]:
        for arch, arguments, names in _possible([bare(name) for name in source.tensors]):
            wanted = Wanted(names, free=True)
            reading = max(readings(source, wanted), key=_covered)
            score = _score(reading, wanted)
            if score >= ALIKE and (guess := _sized(arch, arguments, reading)) is not None:
                scored.append((score, guess))
    scored.sort(key=lambda pair: -pair[0])
    return [guess for _, guess in scored[:MOST]]


def _covered(reading: Reading) -> int:
    return -1 if reading.prefix is None else len(reading.names)


def _score(reading: Reading, wanted: Wanted) -> float:
    """Names that the file and the network share, of all that either has."""
    prefix = reading.prefix or ""
    parts = {name.partition(".")[0] for name in wanted.tensors}
    shared = sum(name in reading.names for name in wanted.required)
    used = {name for names in reading.names.values() for name in names}
    other = sum(
        name not in used and not harmless(name, tensor, prefix, parts)
        for name, tensor in reading.source.tensors.items()
        if name.startswith(prefix) and name.rpartition(".")[2] != OPTIONAL
    )
    return shared / (len(wanted.required) + other)


def _sized(arch: str, arguments: Mapping[str, Any], reading: Reading) -> Guess | None:
    """The network at the width and for the channels that the file has, if it then fits."""
    given, names = reading.tensors(), _names(arch, tuple(arguments.items()), KINDS.get(arch, IMAGE))
    if arch == "vit":
        sizes = read_sizes(given)
        return None if sizes is None else _fitting(arch, {**arguments, **sizes[0]}, sizes[1], given)
    shape = KINDS.get(arch, IMAGE)
    first = next((name for name, tensor in names.items() if tensor.dim() > 1), None)
    if first is None or first not in given or given[first].dim() != names[first].dim():
        return None
    if len(shape) == 3 and names[first].shape[1] == shape[0]:
        shape = (int(given[first].shape[1]), *shape[1:])
    width, usual = int(given[first].shape[0]), int(names[first].shape[0])
    default = nets.default(arch, "width")
    if isinstance(default, int):
        arguments = {**arguments, "width": width * default // usual}
    return _fitting(arch, arguments, shape, given)


def _fitting(
    arch: str, arguments: Mapping[str, Any], shape: tuple[int, ...], given: Mapping[str, Tensor]
) -> Guess | None:
    """This network, if the tensors of the file are its own."""
    try:
        wanted = Wanted(_names(arch, tuple(arguments.items()), shape), free=True)
    except Exception:  # numbers of whoever wrote the file
        return None
    if not all(wanted.takes(name, tensor) for name, tensor in given.items()):
        return None
    return Guess(arch, arguments, shape)


def _possible(given: list[str]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Tensor]]]:
    """The built-in networks that such names do not rule out, with their own names."""
    blocks = sum(name.endswith(".attn.qkv.bias") for name in given)
    for arch in nets.ARCHITECTURES:
        has, lacks = MARKS.get(arch, ("", " "))
        if not any(name.endswith(has) for name in given) or any(name.endswith(lacks) for name in given):
            continue
        deep = ({"depth": min(blocks, MOST_BLOCKS)},) if arch == "vit" else ({},)
        for arguments in (*deep, *nets.alternatives(arch, {})):
            yield arch, arguments, _names(arch, tuple(arguments.items()), KINDS.get(arch, IMAGE))


@cache
def _names(arch: str, arguments: tuple[tuple[str, Any], ...], shape: tuple[int, ...]) -> Mapping[str, Tensor]:
    """Names and shapes for two classes, without time and memory for the weights."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return nets.build(arch, classes=2, input_shape=shape, **dict(arguments)).state_dict()
