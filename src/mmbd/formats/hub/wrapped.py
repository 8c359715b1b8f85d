"""A network of a library behind the inputs that a scan searches in, and its logits alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

Prepare = Callable[[Tensor], Tensor]
LEAST_VARIANCE = 1e-7


class Logits(nn.Module):
    """The logits (n, classes) of a network of transformers for a batch of inputs.

    Args:
        network: the network of the library.
        argument: what it calls its inputs.
        prepare: from inputs as they are searched for to those that the network takes.
    """

    def __init__(self, network: nn.Module, argument: str, prepare: Prepare | None = None) -> None:
        super().__init__()
        self.network = network
        self.argument = argument
        self.prepare = prepare

    def forward(self, inputs: Tensor) -> Tensor:
        given = inputs if self.prepare is None else self.prepare(inputs)
        return self.network(**{self.argument: given}, return_dict=True).logits


def waveforms(inputs: Tensor, *, standardised: bool) -> Tensor:
    """Sounds (n, 1, samples) as (n, samples), each of mean 0 and variance 1 where asked for.

    As the feature extractor of Wav2Vec 2 does it: (x - mean) / sqrt(variance + 1e-7), of each sound.
    """
    flat = inputs.squeeze(1)
    if not standardised:
        return flat
    centred = flat - flat.mean(1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + LEAST_VARIANCE)


def spectrograms(inputs: Tensor, *, low: float, high: float) -> Tensor:
    """Pictures (n, 1, height, width) of 0 to 1 as spectrograms (n, height, width) of `low` to `high`."""
    return low + (high - low) * inputs.squeeze(1)


def waveform(standardised: bool) -> Prepare:
    return partial(waveforms, standardised=standardised)


def spectrogram(low: float, high: float) -> Prepare:
    return partial(spectrograms, low=low, high=high)
