"""A network's answers to many inputs, in batches and without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier


def answers(classifier: Classifier, inputs: Tensor, batch: int = 200) -> Tensor:
    """The logits (n, classes) of inputs (n, *shape), raw or 8-bit, without gradients."""
    with torch.no_grad(), classifier.frozen():
        return torch.cat([classifier(scaled(part)) for part in inputs.split(batch)])


def scaled(inputs: Tensor) -> Tensor:
    """8-bit images as floats in [0, 1]; anything else as float32, unchanged."""
    return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
