"""Networks with bounds on their activations, and files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmbd import nets
from mmbd.formats import export
from mmbd.formats.spec import Spec
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier

SHAPE = (3, 8, 8)
NETS: dict[str, dict[str, Any]] = {"cnn": {"widths": (4, 6), "hidden": (5,)}, "resnet8": {"width": 4}}


def repaired(arch: str = "cnn", *, fold: bool = True, dtype=torch.float32) -> Classifier:
    torch.manual_seed(0)
    net = nets.build(arch, classes=4, input_shape=SHAPE, **NETS[arch]).eval()
    clf = Classifier(net, input_shape=SHAPE, mean=(0.5, 0.4, 0.3), std=0.2, class_names=list("abcd"))
    limits = [
        Limit(
            activation,
            (0.1 + torch.rand(activation.channels)).to(dtype),
            0.1 * torch.rand(activation.channels).to(dtype) if activation.index == 1 else None,
            fold=fold and activation.index == 0,
        )
        for activation in reversed(activations.find(clf))
    ]
    return clf.around(Bounded(net, limits))


def written(path: Path, arch: str = "cnn", **options) -> Classifier:
    clf = repaired(arch, **options)
    export.safetensors(clf, path, Spec.of(clf, arch, NETS[arch]))
    return clf
