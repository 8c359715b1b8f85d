"""A pattern under a mask: the form in which detectors reverse-engineer triggers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmbd.model.forward import scaled


def stamp(inputs: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """(1 - mask) * inputs + mask * pattern, neither clipped nor rounded.

    Args:
        inputs: (batch, channels, ...).
        mask: (...) or (channels, ...), 0 to 1.
        pattern: (channels, ...), in the inputs' units.
    """
    return (1 - mask) * inputs + mask * pattern


def in_box(mask: Tensor, pattern: Tensor, low: float, high: float) -> Callable[[Tensor], Tensor]:
    """The trigger of a mask and a pattern for inputs of another range than 0 to 1.

    Args:
        mask: see `MaskPattern`.
        pattern: (channels, height, width), low to high.
        low: the lowest valid input.
        high: the highest one.
    """
    trigger = MaskPattern(mask, ((pattern - low) / (high - low)).clamp(0, 1))
    if (low, high) == (0.0, 1.0):
        return trigger
    return lambda inputs: low + (high - low) * trigger((inputs - low) / (high - low))


@dataclass(frozen=True)
class MaskPattern:
    """(1 - mask) * x + mask * pattern, clipped to [0, 1] and rounded to 8 bits: an image trigger.

    This is the form in which Neural Cleanse and its kin find triggers.

    Args:
        mask: (height, width) or (channels, height, width), tensor or array, 0 to 1 (or 8-bit).
        pattern: (channels, height, width), 0 to 1 (or 8-bit).

    Raises:
        ValueError: values outside 0 to 1, or shapes that do not fit.
    """

    mask: Any
    pattern: Any

    def __post_init__(self) -> None:
        for name in ("mask", "pattern"):
            value = scaled(torch.as_tensor(getattr(self, name)))
            if not bool(((value >= 0) & (value <= 1)).all()):  # also NaN
                raise ValueError(
                    f"the {name} of a trigger must lie in 0 to 1, it goes from "
                    f"{float(value.min()):g} to {float(value.max()):g}: divide by 255?"
                )
            object.__setattr__(self, name, value)
        shape = tuple(self.pattern.shape)
        if len(shape) != 3 or tuple(self.mask.shape) not in (shape, (1, *shape[1:]), shape[1:]):
            raise ValueError(
                f"a pattern of shape {shape} and a mask of shape {tuple(self.mask.shape)} make no "
                "trigger: expected (channels, height, width) and (height, width)"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """`images` (batch, channels, height, width) in [0, 1], triggered."""
        mask, pattern = self.mask.to(images.device), self.pattern.to(images.device)
        return stamp(images, mask, pattern).mul(255).round().clamp(0, 255) / 255
