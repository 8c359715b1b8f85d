"""What a network says of many inputs: in batches, and without gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mmbd.model.classifier import Classifier


def logits_of(model: Classifier | nn.Module, inputs: Tensor, *, batch: int = 200) -> Tensor:
    """The logits (n, classes) of inputs (n, *shape), raw or 8-bit, on the model's device.

    A network that is no classifier must be in eval mode and return logits alone.
    """
    return _in_batches(model, inputs, batch, lambda logits: logits)


def classes_of(model: Classifier | nn.Module, inputs: Tensor, *, batch: int = 200) -> Tensor:
    """The predicted classes (n,) of inputs (n, *shape), int64 on the CPU; see `logits_of`."""
    return _in_batches(model, inputs, batch, lambda logits: logits.argmax(1).cpu())


def _in_batches(
    model: Classifier | nn.Module, inputs: Tensor, batch: int, keep: Callable[[Tensor], Tensor]
) -> Tensor:
    # A classifier moves its inputs itself.
    device = inputs.device if isinstance(model, Classifier) else device_of(model)
    with torch.no_grad(), model.frozen() if isinstance(model, Classifier) else nullcontext():
        return torch.cat([keep(model(scaled(part.to(device)))) for part in inputs.split(batch)])


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights are; the CPU for one without weights."""
    weight = next(network.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def scaled(inputs: Tensor) -> Tensor:
    """8-bit images as floats in [0, 1]; anything else as float32, unchanged."""
    return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
