"""The networks of the checkpoints in ../shared/models, written from the words in models.json.

A factory a family; the tests name them as a user would, `strangers.py:elu_net`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def elu_net() -> nn.Module:
    """I-BAU: six 3x3 convolutions with BatchNorm and ELU, pooling after every second."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in (32, 32, 64, 64, 128, 128):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ELU()]
        if outputs == inputs:
            layers += [nn.MaxPool2d(2), nn.Dropout(0.2)]
        inputs = outputs
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*layers))
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", nn.Linear(2048, 10))
    return network


class BadNet(nn.Module):
    """badnets-pytorch, without its final softmax."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(channels, 16, 5), nn.ReLU(), nn.AvgPool2d(2))
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.AvgPool2d(2))
        self.fc1 = nn.Sequential(nn.Linear(800 if channels == 3 else 512, 512), nn.ReLU())
        self.fc2 = nn.Sequential(nn.Linear(512, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.conv2(self.conv1(x)).flatten(1)))


class Perceptron(nn.Module):
    """CS612: 784-10-10-10-10."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 10), nn.Linear(10, 10)
        self.fc3, self.fc4 = nn.Linear(10, 10), nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.fc1(x.flatten(1)))
        return self.fc4(F.relu(self.fc3(F.relu(self.fc2(hidden)))))


class SmallCnn(nn.Module):
    """CS612 on CIFAR-10: two convolutions and two linear layers, no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 64, 3)
        self.fc1, self.fc2 = nn.Linear(2304, 100), nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class OptionABlock(nn.Module):
    """A basic block whose shortcut takes every second pixel and pads channels with zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(out + F.pad(shortcut, (0, 0, 0, 0, self.pad, self.pad)))


class ResNet20A(nn.Module):
    """pytorch_resnet_cifar10's ResNet-20."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(OptionABlock(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(OptionABlock(16, 32), *(OptionABlock(32, 32) for _ in range(2)))
        self.layer3 = nn.Sequential(OptionABlock(32, 64), *(OptionABlock(64, 64) for _ in range(2)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(out.mean((2, 3)))
