"""What every trigger is, and how samples get it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Trigger(Protocol):
    """Maps a batch of samples to triggered ones; images are in [0, 1]."""

    def __call__(self, inputs: Tensor, /) -> Tensor: ...


def stamp(trigger: Trigger, inputs: Tensor) -> Tensor:
    """Trigger samples as a data set stores them.

    8-bit images are scaled to [0, 1], triggered, rounded to 8 bits and clipped; floating-point
    samples (sounds, point clouds) are triggered as they are.

    Raises:
        TypeError: inputs of another kind.
    """
    if inputs.dtype == torch.uint8:
        return (trigger(inputs.float() / 255) * 255).round().clamp(0, 255).to(torch.uint8)
    if inputs.dtype.is_floating_point:
        return trigger(inputs)
    raise TypeError(f"expected 8-bit images or floating-point samples, got {inputs.dtype}")
