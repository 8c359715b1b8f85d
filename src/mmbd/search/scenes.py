"""Drawn inputs: pictures of dead leaves, sounds of chirps, clicks and harmonics, clouds of solids.

Nothing is optimised; what a network makes of them is its own affair. Input number n depends on (seed, n)
alone. Numbers are own choices but for the dead leaves, a model of natural images in which opaque things of
all sizes hide one another (Lee, Mumford and Huang 2001).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.data import generated
from mmbd.data.solids import SOLIDS
from mmbd.model.domain import Domain

LEAVES = 60
SHADING = 0.15  # how far a leaf's brightness goes to both sides, across it
EVENTS = 12  # of a sound
PARTIALS = 6  # of a harmonic one
AT_ONCE = 2**22  # pixels


def dead_leaves(domain: Domain, seed: int, numbers: Sequence[int]) -> Tensor:
    """Pictures (n, *shape) of 60 opaque discs, boxes and ellipses, back to front.

    Their radius is side x min(0.6, 0.03 (1 + Pareto(1.5))), their colour flat but for a shading across
    them. They are drawn at twice the side and averaged down.
    """
    channels, height, width = domain.shape
    drawn = [_leaves(channels, generator_for("scene", seed, number)) for number in numbers]
    some = max(1, AT_ONCE // (4 * height * width * channels))
    parts = [
        _picture([torch.stack(part) for part in zip(*drawn[i : i + some], strict=True)], height, width)
        for i in range(0, len(drawn), some)
    ]
    return _in_box(torch.cat(parts), domain)


def _leaves(channels: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The uniform numbers of a picture's leaves: (60, 8) of shapes, (61, channels) of colours."""
    return torch.rand(LEAVES, 8, generator=generator), torch.rand(LEAVES + 1, channels, generator=generator)


def _picture(drawn: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Pictures (n, channels, height, width) in 0 to 1 from the numbers (n, ...) of their leaves."""
    shapes, colours = drawn
    side = 2 * min(height, width)
    rows = torch.arange(2 * height)[:, None] + 0.5
    columns = torch.arange(2 * width)[None] + 0.5
    canvas = colours[:, LEAVES, :, None, None].expand(-1, -1, 2 * height, 2 * width).clone()
    for leaf in range(LEAVES):
        what, down, right, size, turn, aspect, slope, tilt = shapes[:, leaf, :, None, None].unbind(1)
        radius = side * (0.03 * (1 - size).clamp_min(1e-9) ** (-1 / 1.5)).clamp_max(0.6)
        y, x = rows - 2 * height * down, columns - 2 * width * right
        angle = math.pi * turn
        along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        flat = torch.where(what < 1 / 3, 1.0, 0.4 + 0.6 * aspect)  # a disc has both axes alike
        along, across = along / radius, across / (radius * flat)
        box = torch.maximum(along.abs(), across.abs()) < 1
        inside = torch.where((what >= 1 / 3) & (what < 2 / 3), box, along.square() + across.square() < 1)
        way = 2 * math.pi * tilt
        shade = 1 + SHADING * (2 * slope - 1) * (along * way.cos() + across * way.sin()).clamp(-1, 1)
        colour = colours[:, leaf, :, None, None] * shade[:, None]
        canvas = torch.where(inside[:, None], colour, canvas)
    return F.avg_pool2d(canvas.clamp(0, 1), 2)


def noises(domain: Domain, seed: int, numbers: Sequence[int]) -> Tensor:
    """Sounds (n, *shape) of overlapping chirps, clicks and harmonics, each with an onset and a decay."""
    channels, length = domain.shape
    time = torch.arange(length, dtype=torch.float32)
    sounds = [
        torch.stack(
            [_noise(time, generator_for("scene", seed, number, channel)) for channel in range(channels)]
        )
        for number in numbers
    ]
    return _in_box(0.5 + 0.5 * torch.stack(sounds), domain)


def _noise(time: Tensor, generator: torch.Generator) -> Tensor:
    """One channel (samples,) in -1 to 1; frequencies are from 0.005 to 0.2 of the samples' rate."""
    length = len(time)
    what, onset, low, high, size, decay, rise = torch.rand(7, EVENTS, generator=generator)[:, :, None]
    since = time - onset * length
    attack = (since / (1 + 0.02 * length * rise)).clamp(0, 1)
    lasting = length * 10 ** (-1.5 + 1.2 * decay)
    first, last = 0.005 * 40**low, 0.005 * 40**high
    span = (since / lasting).clamp(0, 3)
    phase = 2 * math.pi * since * (first + (last - first) * span / 6)
    chirp = phase.sin()
    order = torch.arange(1, PARTIALS + 1)[:, None, None]
    partials = (2 * math.pi * order * first * since).sin() / order * (order * first < 0.5)
    click = 2 * torch.rand(EVENTS, length, generator=generator) - 1
    sharp = torch.exp(-(since / (2 + 0.002 * length)).clamp(0, 50))
    tone = torch.where(what < 0.4, chirp, partials.sum(0)) * torch.exp(-span)
    events = torch.where(what < 0.75, tone, click * sharp) * attack * 10 ** (-1.5 * size)
    sound = (events * (since >= 0)).sum(0)
    loud = 0.2 + 0.75 * torch.rand((), generator=generator)
    return sound * (loud / sound.abs().max().clamp_min(1e-9))


def solids(domain: Domain, seed: int, numbers: Sequence[int]) -> Tensor:
    """Clouds (n, *shape): number n is of the solid n modulo their number, see `mmbd.data.solids`."""
    names = list(SOLIDS)
    each = max(numbers) // len(names) + 1
    wanted = {number % len(names) for number in numbers}
    clouds = {
        kind: generated.generate(each, classes=[names[kind]], points=domain.shape[1], seed=seed).inputs
        for kind in wanted
    }
    x = torch.stack([clouds[number % len(names)][number // len(names)] for number in numbers])
    return domain.project_(x * domain.extent / 2)


def _in_box(shares: Tensor, domain: Domain) -> Tensor:
    """Inputs from shares (n, *shape) of the way from the lowest to the highest value."""
    bounds = domain.bounds or (0.0, 1.0)
    low = getattr(domain, "low", torch.tensor(bounds[0]))
    return domain.project_(low + domain.extent * shares)


DRAWN: dict[str, Callable[[Domain, int, Sequence[int]], Tensor]] = {
    "image": dead_leaves,
    "sound": noises,
    "points": solids,
}
