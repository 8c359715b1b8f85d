"""Classifiers of every kind to export, with bounds on all their activations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmbd import nets
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.points import Points
from mmbd.nets.resnet import PreActBlock, ResNet

MEAN, STD = 0.4, 0.3
HERE = str(Path(nets.__file__).parents[1]).encode()  # must not be told to strangers
BUILT_IN = {
    "cnn": ((3, 12, 12), {"widths": (4, 4)}),
    "resnet8": ((3, 16, 16), {"width": 4}),
    "vgg16": ((3, 32, 32), {"width": 4}),
    "mobilenet": ((3, 16, 16), {}),
    "m5": ((1, 8000), {"width": 4}),
    "mlp": ((3, 4, 4), {"hidden": (8,), "nonlinearity": "gelu"}),
    "vit": ((3, 8, 8), {"width": 8, "depth": 2}),
    "pointnet": ((3, 32), {"width": 8}),
    "dgcnn": ((3, 24), {"width": 8, "k": 4}),
}


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    if name == "preact":
        shape = (3, 16, 16)
        return ResNet(PreActBlock, (1, 1), classes=5, input_shape=shape, width=4), shape
    shape, arguments = BUILT_IN[name]
    return nets.build(name, classes=5, input_shape=shape, **arguments), shape


def bounded(name: str) -> Classifier:
    """Bounds at every activation that change the answers; some fold, some have lower ones."""
    model, shape = network(name)
    domain = Points(shape[1]) if name in ("pointnet", "dgcnn") else None
    clf = Classifier(model.eval(), input_shape=shape, domain=domain, mean=MEAN, std=STD)
    limits = [
        Limit(
            activation,
            upper=0.3 * torch.rand(activation.channels) + 0.02,
            lower=0.02 * torch.rand(activation.channels) if activation.index % 2 else None,
            fold=activation.index % 2 == 0,
        )
        for activation in activations.find(clf)
    ]
    repaired = clf.around(Bounded(model, limits))
    x = inputs(clf)
    assert not torch.allclose(repaired(x), clf(x), atol=1e-3)
    return repaired


def inputs(clf: Classifier, count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.stack([clf.domain.sample(generator) for _ in range(count)])


def assert_same(made, clf: Classifier) -> None:
    """The same logits to 1e-5, for batches of any size, of inputs that were not compared yet."""
    x = inputs(clf)
    with torch.no_grad(), clf.frozen():
        for count in (1, 2, 5):
            torch.testing.assert_close(made(x[:count]), clf(x[:count]), atol=1e-5, rtol=0)
