"""How a pattern gets under a mask into many images at once, and how gradients come back from there.

Inside the searches for triggers channels come last: gradients of small images come faster so, and stamping
needs no copies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmbd.model.domain import Domain

EPSILON = 1e-7  # keeps the values of masks and patterns where tanh can reach them


def stamped(images: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """(1 - mask) * images + mask * pattern: images (rows, n, ...), the others (rows, ...)."""
    wide = mask.expand_as(pattern).contiguous()  # a mask of every channel's own: far quicker to read
    return torch.lerp(images, pattern[:, None].expand_as(images), wide[:, None].expand_as(images))


def pulled(gradient: Tensor, images: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """What has the same derivatives by masks and patterns (rows, ...) as a loss of stamped images.

    Args:
        gradient: of the loss at the stamped images, (rows, n, ...).
        images: before they were stamped, (rows, n, ...).
        mask: (rows, ...), with gradients.
        pattern: (rows, ...), with gradients.
    """
    return (mask * (pattern * gradient.sum(1) - (gradient * images).sum(1))).sum()


def squashed(values: Tensor) -> Tensor:
    """Values of any size in (0, 1), as the authors of Neural Cleanse do: by a hyperbolic tangent."""
    return values.tanh() / (2 - EPSILON) + 0.5


def unsquashed(values: Tensor) -> Tensor:
    """What `squashed` makes these values of, which lie in 0 to 1."""
    return ((values - 0.5) * (2 - EPSILON)).atanh()


def channels_last(inputs: Tensor) -> Tensor:
    """(n, channels, *places) as (n, *places, channels)."""
    return inputs.movedim(1, -1).contiguous()


def channels_first(inputs: Tensor) -> Tensor:
    """(n, *places, channels) as (n, channels, *places); for images without moving anything."""
    moved = inputs.movedim(-1, 1)
    return moved if moved.dim() == 4 else moved.contiguous()


def box(domain: Domain, like: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest input and the extent of a box, each broadcastable to channels-last inputs."""
    low: Any = getattr(domain, "low", None)
    if low is None:
        raise ValueError(f"expected inputs in a box, got {domain!r}")
    low, extent = low.to(like), domain.extent.to(like)
    return (
        low.movedim(0, -1) if low.dim() > 1 else low,
        extent.movedim(0, -1) if extent.dim() > 1 else extent,
    )
