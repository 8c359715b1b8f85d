"""Networks without shortcuts: perceptrons, LeNet-like and VGG-like ones, and M5 for sound."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.nets.blocks import activation, image_shape, norm

VGG16 = (
    64,
    64,
    "pool",
    128,
    128,
    "pool",
    256,
    256,
    256,
    "pool",
    512,
    512,
    512,
    "pool",
    512,
    512,
    512,
    "pool",
)


def mlp(
    *,
    classes: int,
    input_shape: tuple[int, ...],
    hidden: tuple[int, ...] = (128, 64),
    nonlinearity: str = "relu",
) -> nn.Module:
    """A multi-layer perceptron on the flattened input; `hidden` are the layer widths."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(input_shape)
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation(nonlinearity)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def lenet(
    *,
    classes: int,
    input_shape: tuple[int, ...],
    widths: tuple[int, int] = (6, 16),
    hidden: tuple[int, ...] = (120, 84),
    nonlinearity: str = "relu",
    pool: str = "max",
) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998): two 5x5 convolutions with pooling, then linear layers."""
    channels, height, width = image_shape(input_shape)
    if len(widths) != 2:
        raise ValueError(f"a LeNet has two convolutions, got widths {widths}")
    if pool not in ("max", "mean"):
        raise ValueError(f"unknown pool {pool!r}; known: max, mean")
    if min(height, width) < 16:
        raise ValueError(f"a LeNet needs images of at least 16 pixels, got {height}x{width}")
    pooling = nn.MaxPool2d if pool == "max" else nn.AvgPool2d
    layers: list[nn.Module] = []
    for outputs in widths:
        layers += [nn.Conv2d(channels, outputs, 5), activation(nonlinearity), pooling(2)]
        channels, height, width = outputs, (height - 4) // 2, (width - 4) // 2
    layers.append(nn.Flatten())
    inputs = channels * height * width
    for units in hidden:
        layers += [nn.Linear(inputs, units), activation(nonlinearity)]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def cnn(
    *,
    classes: int,
    input_shape: tuple[int, ...],
    widths: tuple[int, ...] = (16, 32, 64),
    depth: int = 1,
    normalisation: str = "batch",
    nonlinearity: str = "relu",
    hidden: tuple[int, ...] = (),
    dropout: float = 0.0,
    head: str = "mean",
) -> nn.Module:
    """A small VGG: for each width `depth` 3x3 convolutions, then a 2x2 max pool.

    `head` is "mean" (global average) or "flat"; `hidden` linear layers follow, then the logits.
    """
    channels, height, width = image_shape(input_shape)
    if depth < 1:
        raise ValueError(f"depth counts the convolutions at each width, at least 1, got {depth}")
    layers: list[nn.Module] = []
    for outputs in widths:
        for _ in range(depth):
            bias = normalisation == "none"
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=bias),
                norm(normalisation, outputs),
                activation(nonlinearity),
            ]
            channels = outputs
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    if head == "mean":
        layers.append(nn.AdaptiveAvgPool2d(1))
        height = width = 1
    elif head != "flat":
        raise ValueError(f"unknown head {head!r}; known: mean, flat")
    layers.append(nn.Flatten())
    inputs = channels * height * width
    for units in hidden:
        layers += [nn.Linear(inputs, units), activation(nonlinearity), nn.Dropout(dropout)]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class VGG(nn.Module):
    """VGG-16 with batch normalisation and one linear layer (the paper's CIFAR-100 network)."""

    def __init__(self, classes: int, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels = image_shape(input_shape)[0]
        layers: list[nn.Module] = []
        for step in VGG16:
            if isinstance(step, str):
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = step * width // 64
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


def vgg16(*, classes: int, input_shape: tuple[int, ...], width: int = 64) -> nn.Module:
    """VGG-16 for inputs of at least 32 pixels; `width` scales every layer."""
    return VGG(classes, input_shape, width)


def m5(*, classes: int, input_shape: tuple[int, ...], width: int = 32) -> nn.Module:
    """M5 (Dai et al. 2017) on raw sound, input shape (1, samples); 1-D convolutions."""
    if len(input_shape) != 2:
        raise ValueError(f"expected a sound shape (channels, samples), got {input_shape}")
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for kernel, stride, outputs in ((80, 16, width), (3, 1, width), (3, 1, 2 * width), (3, 1, 2 * width)):
        layers += [
            nn.Conv1d(channels, outputs, kernel, stride),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.MaxPool1d(4),
        ]
        channels = outputs
    layers += [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)
