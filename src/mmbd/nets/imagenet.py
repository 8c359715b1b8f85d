"""Residual networks for large images (He et al. 2015), with torchvision's layer names.

A 7x7 convolution with stride 2 and a 3x3 max pool come first; the shortcut is `downsample`, the
last layer `fc`. So a state dict of torchvision's `resnet18` or `resnet34` loads by name.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.nets.blocks import image_shape


class Block(nn.Module):
    """conv - norm - ReLU - conv - norm, plus the shortcut, then ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ImageNetResNet(nn.Module):
    """Four stages of basic blocks, each but the first half as large and twice as wide."""

    def __init__(
        self, depths: tuple[int, ...], classes: int, input_shape: tuple[int, ...], width: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(image_shape(input_shape)[0], width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = width
        for stage, depth in enumerate(depths):
            outputs = width * 2**stage
            blocks = [Block(inputs, outputs, 1 if stage == 0 else 2)]
            blocks += [Block(outputs, outputs, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.stages = len(depths)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            out = self.get_submodule(f"layer{stage + 1}")(out)
        return self.fc(self.avgpool(out).flatten(1))


def resnet18_imagenet(*, classes: int, input_shape: tuple[int, ...], width: int = 64) -> nn.Module:
    """ResNet-18 as torchvision has it, for images of 64 pixels and more."""
    return ImageNetResNet((2, 2, 2, 2), classes, input_shape, width)


def resnet34_imagenet(*, classes: int, input_shape: tuple[int, ...], width: int = 64) -> nn.Module:
    """ResNet-34 as torchvision has it, for images of 64 pixels and more."""
    return ImageNetResNet((3, 4, 6, 3), classes, input_shape, width)
