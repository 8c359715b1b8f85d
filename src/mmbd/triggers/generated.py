"""Triggers that networks make, image by image (Nguyen and Tran 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.model.forward import device_of


class TriggerNetwork(nn.Module):
    """Images (n, channels, height, width) -> images (n, outputs, height, width) in [0, 1].

    Args:
        channels, outputs: of the images that come in and go out.
        width: channels after the first convolution; they double at each of `depth` steps down.
        sharp: push the outputs towards 0 and 1, for masks.

    Under autocast the convolutions run in its type; what comes out is float32.
    """

    def __init__(
        self, channels: int, outputs: int, *, width: int = 32, depth: int = 3, sharp: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.outputs, self.width = channels, outputs, width
        self.depth, self.sharp = depth, sharp
        widths = [width * 2**step for step in range(depth)]
        self.down = nn.ModuleList(
            nn.Sequential(_unit(before, after), _unit(after, after))
            for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.middle = _unit(widths[-1], widths[-1])
        self.up = nn.ModuleList(
            nn.Sequential(_unit(before, before), _unit(before, after, last=step == depth - 1))
            for step, (before, after) in enumerate(
                zip(reversed(widths), [*reversed(widths[:-1]), outputs], strict=True)
            )
        )
        channels_last(self)

    @property
    def arguments(self) -> dict[str, int | bool]:
        """What the constructor takes, JSON-ready."""
        return {
            "channels": self.channels,
            "outputs": self.outputs,
            "width": self.width,
            "depth": self.depth,
            "sharp": self.sharp,
        }

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        sizes: list[torch.Size] = []
        for step in self.down:
            x = step(x)
            sizes.append(x.shape[-2:])
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for step in self.up:
            x = step(F.interpolate(x, size=sizes.pop(), mode="bilinear"))
        x = x.float().tanh() / 2 + 0.5
        return (20 * x - 10).tanh() / 2 + 0.5 if self.sharp else x


def channels_last(network: nn.Module) -> None:
    """Lay the weights out as convolutions run fastest, on every kind of processor here."""
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _unit(inputs: int, outputs: int, *, last: bool = False) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and, but for the last, a ReLU."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers) if last else nn.Sequential(*layers, nn.ReLU())


@dataclass(frozen=True)
class Generated:
    """x + (pattern(x) - x) * mask(x), by two trigger networks in eval mode, where their weights are."""

    pattern: TriggerNetwork
    mask: TriggerNetwork

    def __post_init__(self) -> None:
        channels = self.pattern.outputs
        found = (self.pattern.channels, self.mask.channels, self.mask.outputs)
        if found != (channels, channels, 1):
            raise ValueError(
                "expected a network of patterns with as many channels out as in and one of masks "
                f"with one out, got {self.pattern.arguments} and {self.mask.arguments}"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        device = device_of(self.pattern)
        parts = [
            paint(batch, self.pattern(batch), self.mask(batch)).to(images.device)
            for batch in (part.to(device) for part in images.split(250))
        ]
        return torch.cat(parts) if parts else images


def paint(images: Tensor, patterns: Tensor, masks: Tensor) -> Tensor:
    """Images with patterns under masks, all in [0, 1]; a mask has one channel."""
    return images + (patterns - images) * masks
