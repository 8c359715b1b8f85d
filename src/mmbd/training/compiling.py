"""Compiling a network for its training, where that pays and works; else it trains as it is.

On GPUs alone: on a CPU it took a minute for the smallest network, and what the compiler of torch
2.13 made of a ResNet-8 of width 4 for 8x8 images wrote beyond its memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

MODES = ("auto", "always", "never")
# Compiling a ResNet-18 takes about half a minute and saves a few milliseconds a step: a rule of
# thumb from elsewhere, not measured here.
STEPS = 10_000

Forward = Callable[[Tensor], Tensor]


def pays(mode: str, device: torch.device, steps: int) -> bool:
    """Whether to compile for so many steps: "always" for all on a GPU, "auto" for long ones there.

    Raises:
        ValueError: an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"unknown compile {mode!r}; known: {', '.join(MODES)}")
    return device.type == "cuda" and (mode == "always" or (mode == "auto" and steps >= STEPS))


class Compiled:
    """A network that is compiled when its first batch comes, for batches of that shape.

    Others, such as the last and smaller one of an epoch, go through the network as it is: they
    would have to be compiled for too. So does everything, after a warning, where the compiler
    fails; many machines have none.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._run: Forward | None = None
        self._shape = torch.Size()

    def __call__(self, batch: Tensor) -> Tensor:
        """The network's outputs for a batch (n, ...)."""
        if self._run is None:
            self._shape = batch.shape
            self._run = _attempt(self._network, batch)
        run = self._run if batch.shape == self._shape else self._network
        return run(batch)


def _attempt(network: nn.Module, batch: Tensor) -> Forward:
    """The compiled network if one step forward and back gets through, else the network."""
    try:
        with _untouched(network, batch.device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own parts
            compiled = torch.compile(network, dynamic=False)
            trial = batch.detach().requires_grad_(batch.requires_grad)
            weights = [weight for weight in network.parameters() if weight.requires_grad]
            torch.autograd.grad(compiled(trial).float().sum(), weights, allow_unused=True)
    except Exception as error:  # compilers fail in many ways, none of which is this training's
        cause = " ".join(line for line in str(error).splitlines()[:2] if line)
        warnings.warn(
            f"the network could not be compiled and trains as it is ({type(error).__name__}: {cause[:200]})",
            RuntimeWarning,
            stacklevel=2,
        )
        return network
    return compiled


@contextmanager
def _untouched(network: nn.Module, device: torch.device) -> Generator[None]:
    """Running statistics and random numbers are afterwards as they were before."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
