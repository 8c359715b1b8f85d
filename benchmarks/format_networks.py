"""Networks of many kinds with seeded random weights, for `benchmarks.formats`: small, with small inputs.

Nine of mmbd's own, eight of torchvision's, four of timm's (both beside a torch for CPUs, too), and three of
torch's own layers. Normalisation layers have statistics of random inputs, so that none of them is trivial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmbd import nets
from mmbd.formats.networks.libraries import timm, torchvision

CLASSES = 10
USUAL = (3, 32, 32)
Shape = tuple[int, ...]


class Recurrent(nn.Module):
    """A recurrent layer over 20 steps of 12 numbers, and a linear one on its last state."""

    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.recurrent = layer(12, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Any = self.recurrent(x)
        return self.head(found[0][:, -1])


class Encoder(nn.Module):
    """torch's own transformer encoder over 20 steps of 12 numbers, and the mean of its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(12, 32)
        self.place = nn.Parameter(torch.randn(1, 20, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.inner(x) + self.place).mean(1))


def _vision(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision().models, name)(num_classes=CLASSES, **arguments)


def _timm(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    return lambda: timm().create_model(name, pretrained=False, num_classes=CLASSES, **arguments)


def _own(name: str, shape: Shape, **arguments: Any) -> tuple[Shape, Callable[[], nn.Module]]:
    return shape, lambda: nets.build(name, classes=CLASSES, input_shape=shape, **arguments)


NETWORKS: dict[str, tuple[Shape, Callable[[], nn.Module]]] = {
    "resnet8": _own("resnet8", USUAL),
    "cnn": _own("cnn", USUAL),
    "lenet": _own("lenet", (1, 28, 28)),
    "vgg16": _own("vgg16", USUAL),
    "mobilenet": _own("mobilenet", USUAL),
    "vit": _own("vit", USUAL),
    "m5": _own("m5", (1, 8000)),
    "dgcnn": _own("dgcnn", (3, 128)),
    "pointnet": _own("pointnet", (3, 128)),
    "lstm": ((20, 12), lambda: Recurrent(nn.LSTM)),
    "gru": ((20, 12), lambda: Recurrent(nn.GRU)),
    "encoder": ((20, 12), Encoder),
    "squeezenet1_1": ((3, 64, 64), _vision("squeezenet1_1")),
    "mnasnet0_5": ((3, 64, 64), _vision("mnasnet0_5")),
    "shufflenet_v2_x0_5": ((3, 64, 64), _vision("shufflenet_v2_x0_5")),
    "mobilenet_v3_small": ((3, 64, 64), _vision("mobilenet_v3_small")),
    "googlenet": ((3, 64, 64), _vision("googlenet", aux_logits=False, init_weights=True)),
    "regnet_y_400mf": ((3, 64, 64), _vision("regnet_y_400mf")),
    "densenet": ((3, 64, 64), _vision("DenseNet", growth_rate=8, num_init_features=16)),
    "efficientnet_b0": ((3, 64, 64), _vision("efficientnet_b0")),
    "convnext_atto": ((3, 64, 64), _timm("convnext_atto")),
    "swin": (
        (3, 64, 64),
        _timm(
            "swin_tiny_patch4_window7_224",
            img_size=64,
            window_size=4,
            embed_dim=24,
            depths=(2, 2),
            num_heads=(2, 4),
        ),
    ),
    "mobilevit_xxs": ((3, 64, 64), _timm("mobilevit_xxs")),
    "mixer": ((3, 64, 64), _timm("mixer_s32_224", img_size=64)),
}


def shape_of(name: str) -> Shape:
    """Of one input."""
    return NETWORKS[name][0] if name in NETWORKS else USUAL


def network(name: str) -> nn.Module:
    """The network, in eval mode; names beside the table are mmbd's own architectures."""
    torch.manual_seed(0)
    shape, make = NETWORKS.get(name) or _own(name, USUAL)
    made = make()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:  # no scale of one, no offset of nothing
                parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(3):
            made(torch.rand(8, *shape))
    return made.eval()
