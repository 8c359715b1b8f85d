"""Sounds: a burst of noise at a fixed moment (BadNets' embedding; paper, section 6.5.1)."""

from __future__ import annotations

import torch

from mmbd.triggers.patch import Patch


def sound(shape: tuple[int, ...], *, seed: int, length: int = 40) -> Patch:
    """`length` consecutive samples are overwritten by uniform noise in [-1, 1] (paper: 40 of 8000).

    The noise and where it starts are drawn once, for the whole attack; the paper leaves open where.

    Args:
        shape: (channels, samples); all channels get the burst at the same time.
        seed: of the noise and its place.
        length: in samples, at 8 kHz 5 ms.

    Raises:
        ValueError: another shape, or a burst longer than the sound.
    """
    if len(shape) != 2 or not 1 <= length <= shape[1]:
        raise ValueError(f"a burst of {length} samples does not fit into a sound of {shape}")
    generator = torch.Generator().manual_seed(seed)
    start = int(torch.randint(0, shape[1] - length + 1, (), generator=generator))
    pattern, mask = torch.zeros(shape), torch.zeros(shape)
    noise = 2 * torch.rand(shape[0], length, generator=generator) - 1
    pattern[:, start : start + length] = noise
    mask[:, start : start + length] = 1
    return Patch(pattern, mask)
