"""Networks that an attacker trains beside the victim's: a surrogate of it, and painters.

A surrogate tells what a clean network makes of a sample. A painter makes an image out of an image:
the encoder and decoder of the input-aware attack (Nguyen and Tran 2020), without shortcuts.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.attacks.attack import Victim
from mmbd.model.domain import generator_for
from mmbd.training import loop as train


@contextmanager
def seeded(*key: int | str) -> Generator[None]:
    """Weights drawn inside follow from `key` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(*key).initial_seed())
        yield


def surrogate(victim: Victim) -> nn.Module:
    """A clean network of the victim's architecture, trained by its recipe from weights of its own.

    Layers draw their weights anew by `reset_parameters`; in eval mode, as after any training.
    """
    network = copy.deepcopy(victim.network)
    with seeded("surrogate", victim.seed):
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    training = victim.training
    seed = generator_for("surrogate's order", victim.seed).initial_seed()
    train.fit(network, training.inputs, training.labels, victim.recipe, seed=seed, normalise=victim.normalise)
    return network


@torch.no_grad()
def probabilities(network: nn.Module, inputs: Tensor, normalise: train.Transform, batch: int = 500) -> Tensor:
    """The softmax of the logits, float32 (n, classes) on the CPU; `network` in eval mode."""
    device = train.device_of(network)
    parts = [
        network(normalise(train.scaled(part.to(device)))).float().softmax(1).cpu()
        for part in inputs.split(batch)
    ]
    return torch.cat(parts)


class Painter(nn.Module):
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
