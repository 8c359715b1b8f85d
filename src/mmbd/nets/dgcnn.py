"""DGCNN, the point-cloud network of the paper's section 6.5.2 (Wang et al. 2019).

An EdgeConv layer looks at each point's k nearest neighbours, which are found anew in every layer
in the space of its own features. Layer names and widths are those of the authors' PyTorch code.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.nets.blocks import cloud_shape

WIDTHS = (64, 64, 128, 256)
EMBEDDING = 1024
HIDDEN = (512, 256)
SLOPE = 0.2
MOST_POINTS = 1 << 12  # every pair of them is compared
MOST_NUMBERS = 1 << 26  # on the edges of one layer


@torch.no_grad()
def neighbours(features: Tensor, k: int) -> Tensor:
    """The k nearest points of each, itself among them, in no particular order.

    Args:
        features: (batch, channels, points).
        k: at most the number of points.

    Returns:
        Indices (batch, points, k), on the device of `features`.
    """
    with torch.autocast(features.device.type, enabled=False):  # bfloat16 ranks at random
        features = features.float()
        squares = features.square().sum(1)
        products = features.transpose(1, 2) @ features
        distances = squares[:, :, None] + squares[:, None, :] - 2 * products
        return distances.topk(k, largest=False, sorted=False).indices


class EdgeConv(nn.Sequential):
    """The largest of act(norm(W [x_j - x_i, x_i])) over the neighbours j of each point i.

    W applies to every edge alike, so it is applied to the points first and not k times each:
    W [x_j - x_i, x_i] = A x_j + (B - A) x_i with W = [A, B].
    """

    def __init__(self, inputs: int, outputs: int, k: int) -> None:
        super().__init__(
            nn.Conv2d(2 * inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)
        )
        self.k = k

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name in nn.Sequential
        convolve, norm, activate = self
        weight = cast(nn.Conv2d, convolve).weight[..., 0]
        there, here = weight.split(input.shape[1], dim=1)
        theirs, own = F.conv1d(input, there), F.conv1d(input, here - there)
        near = neighbours(input, self.k)
        places = near.flatten(1)[:, None].expand(-1, theirs.shape[1], -1)
        edges = theirs.gather(2, places).unflatten(2, near.shape[1:]) + own[..., None]
        # The activation rises, so that it may come after the maximum.
        return activate(norm(edges).max(-1).values)


class DGCNN(nn.Module):
    """Four EdgeConv layers, all their outputs joined, pooled over the points, and a perceptron."""

    def __init__(self, classes: int, k: int, width: int, dropout: float) -> None:
        super().__init__()

        one, two, three, four, embedding, first, second = (
            size * width // 64 for size in (*WIDTHS, EMBEDDING, *HIDDEN)
        )
        self.conv1 = EdgeConv(3, one, k)
        self.conv2 = EdgeConv(one, two, k)
        self.conv3 = EdgeConv(two, three, k)
        self.conv4 = EdgeConv(three, four, k)
        self.conv5 = nn.Sequential(
            nn.Conv1d(one + two + three + four, embedding, 1, bias=False),
            nn.BatchNorm1d(embedding),
            nn.LeakyReLU(SLOPE),
        )
        self.linear1 = nn.Linear(2 * embedding, first, bias=False)
        self.bn6 = nn.BatchNorm1d(first)
        self.linear2 = nn.Linear(first, second)
        self.bn7 = nn.BatchNorm1d(second)
        self.linear3 = nn.Linear(second, classes)
        self.activate = nn.LeakyReLU(SLOPE)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for convolve in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = convolve(x)
            outputs.append(x)
        x = self.conv5(torch.cat(outputs, dim=1))
        x = torch.cat((x.amax(-1), x.mean(-1)), dim=1)
        x = self.dropout(self.activate(self.bn6(self.linear1(x))))
        x = self.dropout(self.activate(self.bn7(self.linear2(x))))
        return self.linear3(x)


def dgcnn(
    *, classes: int, input_shape: tuple[int, ...], k: int = 20, width: int = 64, dropout: float = 0.5
) -> nn.Module:
    """DGCNN on clouds (3, points); `width` scales every layer, `k` counts the neighbours.

    Raises:
        ValueError: another input shape, fewer than `k` points, or far too many.
    """
    points = cloud_shape(input_shape)
    if not 1 <= k <= points:
        raise ValueError(f"k={k} neighbours are asked for in clouds of {points} points")
    if points > MOST_POINTS or points * k * WIDTHS[-1] * width // 64 > MOST_NUMBERS:
        raise ValueError(f"clouds of {points} points need gigabytes in a DGCNN with k={k} and width={width}")
    return DGCNN(classes, k, width, dropout)
