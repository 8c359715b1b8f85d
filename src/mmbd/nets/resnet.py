"""Residual networks for images of 32 to 64 pixels: He et al. 2015 and, pre-activation, 2016.

The stem is one 3x3 convolution without pooling, as every backdoor paper uses it on CIFAR-10.
Where the width grows, the shortcut of He et al. 2015 is a convolution ("B") or has no weights
("A": every second pixel, and zeros for the new channels, half of them on either side).
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.nets.blocks import image_shape, norm


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


SHORTCUTS = ("A", "B")


class Padding(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that are not there."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (outputs - inputs) // 2
        self.channels = (before, outputs - inputs - before)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.channels))


class BasicBlock(nn.Module):
    """conv - norm - ReLU - conv - norm, plus the shortcut, then ReLU."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, normalisation: str, shortcut: str = "B"
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = norm(normalisation, outputs)
        self.conv2 = _conv3x3(outputs, outputs)
        self.bn2 = norm(normalisation, outputs)
        self.shortcut = nn.Sequential()
        if (stride != 1 or inputs != outputs) and shortcut == "A":
            self.shortcut = Padding(inputs, outputs, stride)
        elif stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(normalisation, outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PreActBlock(nn.Module):
    """norm - ReLU - conv, twice, added to the shortcut; no ReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, normalisation: str) -> None:
        super().__init__()
        self.bn1 = norm(normalisation, inputs)
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn2 = norm(normalisation, outputs)
        self.conv2 = _conv3x3(outputs, outputs)
        self.projects = stride != 1 or inputs != outputs
        if self.projects:  # absent otherwise, so that the state dict has the usual keys
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        skip = self.shortcut(out) if self.projects else x
        return self.conv2(F.relu(self.bn2(self.conv1(out)))) + skip


class ResNet(nn.Module):
    """A stem, stages that halve the resolution and double the width, a mean and a linear layer."""

    def __init__(
        self,
        block: type[BasicBlock] | type[PreActBlock],
        depths: tuple[int, ...],
        *,
        classes: int,
        input_shape: tuple[int, ...],
        width: int,
        normalisation: str = "batch",
        shortcut: str = "B",
    ) -> None:
        super().__init__()
        if shortcut not in SHORTCUTS:
            raise ValueError(f"unknown shortcut {shortcut!r}; known: {', '.join(SHORTCUTS)}")
        option = {"shortcut": shortcut} if block is BasicBlock else {}
        self.conv1 = _conv3x3(image_shape(input_shape)[0], width)
        # A pre-activation network normalises inside its blocks, before each convolution.
        self.bn1 = norm(normalisation, width) if block is BasicBlock else None
        inputs = width
        self.stages: list[str] = []
        for stage, depth in enumerate(depths):
            outputs = width * 2**stage
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, outputs, stride, normalisation, **option))
                inputs = outputs
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        if self.bn1 is not None:
            out = F.relu(self.bn1(out))
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(out, 1), 1))


def _large(
    block: type[BasicBlock] | type[PreActBlock],
    depths: tuple[int, ...],
    *,
    classes: int,
    input_shape: tuple[int, ...],
    width: int = 64,
    normalisation: str = "batch",
) -> nn.Module:
    """Four stages of `depths` blocks; `normalisation` as for `blocks.norm`."""
    return ResNet(
        block, depths, classes=classes, input_shape=input_shape, width=width, normalisation=normalisation
    )


def _small(
    blocks: int,
    *,
    classes: int,
    input_shape: tuple[int, ...],
    width: int = 16,
    normalisation: str = "batch",
    shortcut: str = "B",
) -> nn.Module:
    """The family of He et al. 2015 for CIFAR-10: three stages, 6 x `blocks` + 2 layers."""
    return ResNet(
        BasicBlock,
        (blocks, blocks, blocks),
        classes=classes,
        input_shape=input_shape,
        width=width,
        normalisation=normalisation,
        shortcut=shortcut,
    )


resnet18 = partial(_large, BasicBlock, (2, 2, 2, 2))
resnet34 = partial(_large, BasicBlock, (3, 4, 6, 3))
preact_resnet18 = partial(_large, PreActBlock, (2, 2, 2, 2))
resnet8 = partial(_small, 1)
resnet20 = partial(_small, 3)
resnet32 = partial(_small, 5)
resnet56 = partial(_small, 9)
resnet110 = partial(_small, 18)
