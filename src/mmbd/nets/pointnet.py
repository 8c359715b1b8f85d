"""PointNet (Qi et al. 2017) without its alignment networks: a small one for point clouds."""

from __future__ import annotations

from torch import Tensor, nn

from mmbd.nets.blocks import cloud_shape

WIDTHS = (64, 128, 1024)
HIDDEN = (512, 256)


class PointNet(nn.Module):
    """The same perceptron on every point, the maximum over the points, and another perceptron."""

    def __init__(self, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in (size * width // 64 for size in WIDTHS):
            layers += [nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs), nn.ReLU()]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        layers = []
        for outputs in (size * width // 64 for size in HIDDEN):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
            inputs = outputs
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(inputs, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).amax(-1))


def pointnet(
    *, classes: int, input_shape: tuple[int, ...], width: int = 64, dropout: float = 0.3
) -> nn.Module:
    """PointNet on clouds (3, points); `width` scales every layer.

    Raises:
        ValueError: another input shape.
    """
    cloud_shape(input_shape)
    return PointNet(classes, width, dropout)
