"""Model files with a known verdict, of a size that is scanned in a moment."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mmbd.formats.spec import Spec, save

HIDDEN = (16,)


def planted(path: Path, *, gain: float, classes: int = 8, names=None) -> Path:
    """A perceptron whose class 2 has its weights multiplied: far ahead somewhere, or nowhere."""
    torch.manual_seed(0)
    spec = Spec("mlp", (1, 4, 4), classes, {"hidden": HIDDEN}, class_names=names)
    network = spec.network()
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        # Every class but the planted one asks for the same: one hidden unit each.
        linear[-1].weight.zero_()
        linear[-1].bias.zero_()
        for label in range(classes):
            linear[-1].weight[label, label] = 1.0
        linear[0].weight.zero_()
        linear[0].bias.zero_()
        for unit in range(classes):
            linear[0].weight[unit, unit] = 10.0 + 0.1 * unit
        linear[-1].weight[2, 2] = gain
    save(path, network, spec)
    return path
