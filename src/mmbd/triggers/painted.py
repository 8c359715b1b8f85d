"""A faint change of the whole image that a network makes, image by image (LIRA, Doan et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.model.forward import device_of
from mmbd.triggers.generated import TriggerNetwork


@dataclass(frozen=True)
class Painted:
    """x + eps * (2 * painter(x) - 1), clipped to [0, 1].

    Args:
        painter: in eval mode, with as many channels out as in; it works where its weights are.
        eps: the largest change of a pixel, on the scale of 0 to 1.

    Raises:
        ValueError: a painter of other channels, or an `eps` outside 0 to 1.
    """

    painter: TriggerNetwork
    eps: float

    def __post_init__(self) -> None:
        if self.painter.channels != self.painter.outputs:
            raise ValueError(f"expected as many channels out as in, got {self.painter.arguments}")
        if not 0 <= self.eps <= 1:
            raise ValueError(f"eps must lie in 0 to 1, got {self.eps:g}")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        device = device_of(self.painter)
        parts = [
            painted(batch, self.painter(batch), self.eps).to(images.device)
            for batch in (part.to(device) for part in images.split(250))
        ]
        return torch.cat(parts) if parts else images


def painted(images: Tensor, change: Tensor, eps: float) -> Tensor:
    """Images in [0, 1] changed by `eps` at most; a `change` of 0.5 is none, 0 and 1 are the most."""
    return (images + eps * (2 * change - 1)).clamp(0, 1)
