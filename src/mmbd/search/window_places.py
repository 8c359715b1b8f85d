"""Windows: small parts of inputs that a local trigger may fill, in whatever domain.

A window is k x k pixels of an image, a stretch of a sound or of a vector, or some points of a cloud that
are put into a small ball. What all have in common is enough to search in any of them: the places (pixels,
samples, points) that a window replaces, and a box of values there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.model.domain import Domain, kind_of

SIDE = 5 / 32  # of an image
STRETCH = 0.01  # of a sound, or a vector
SIDES = (0.6, 1.0, 1.6)  # that a search tries, in shares of the usual one
STRIDE = 0.6  # of a window's side: neighbours overlap
FEWEST = 3  # places along a side
# The trigger of PCBA (Xiang et al. 2021): 32 points on a sphere of radius 0.15.
BALL_POINTS, BALL_RADIUS = 32, 0.15
BALLS = 5  # along each side of the cube
# What positions along the axes of an input are called.
AXES = {"image": ("rows", "columns"), "sound": ("samples",), "vector": ("values",)}


@dataclass(frozen=True)
class Windows:
    """All windows of a domain. Inputs (n, *shape) are seen as (n, channels, places).

    Attributes:
        domain: of the inputs.
        channels: of a place.
        index: (windows, size) the places that each replaces.
        start: (windows, channels, size) the values to begin with.
        low, high: (windows, channels, size) the values that are possible.
        corners: where each begins: the row and column of an image, the first sample, or the centre of a
            ball.
    """

    domain: Domain
    channels: int
    index: Tensor
    start: Tensor
    low: Tensor
    high: Tensor
    corners: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        return len(self.index)

    def stamped(self, inputs: Tensor, which: Tensor, values: Tensor) -> Tensor:
        """Inputs (n, *shape), each with values (n, channels, size) in the window at `which` (n,)."""
        flat = inputs.reshape(len(inputs), self.channels, -1)
        places = self.index[which][:, None].expand(-1, self.channels, -1)
        return self.domain.project_(flat.scatter(2, places, values).view_as(inputs))

    def within(self, inputs: Tensor, which: Tensor) -> Tensor:
        """What inputs (n, *shape) hold in the windows at `which` (n,), (n, channels, size)."""
        flat = inputs.reshape(len(inputs), self.channels, -1)
        return flat.gather(2, self.index[which][:, None].expand(-1, self.channels, -1))

    def told(self, place: int) -> str:
        """Where the window at `place` sits, in words, counted from 0: "rows 24 to 28, columns 26 to 30"."""
        corner = self.corners[place]
        if kind_of(self.domain) == "points":
            return f"a ball around ({', '.join(f'{at:.2g}' for at in corner)})"
        lengths = self.domain.shape[1:] if len(self.domain.shape) > 1 else self.domain.shape
        last = torch.unravel_index(self.index[place].max(), lengths)
        axes = AXES.get(kind_of(self.domain), tuple(f"axis {axis}:" for axis in range(len(lengths))))
        return ", ".join(
            f"{axis} {begin:g} to {int(end)}" for axis, begin, end in zip(axes, corner, last, strict=True)
        )

    def to(self, device: torch.device) -> Windows:
        """The same, with the tensors there."""
        moved = {name: getattr(self, name).to(device) for name in ("index", "start", "low", "high")}
        return replace(self, **moved)


def windows_of(domain: Domain, *, side: int | None = None, seed: int = 0) -> Windows:
    """All windows of a domain, so that each place is in one at least.

    Args:
        domain: of the inputs.
        side: of a window, in pixels or samples; the points in a ball. By default 5/32 of an image's
            smaller side, 1 % of a sound or vector, at least 3; the 32 points of PCBA, at most a quarter.
        seed: of which points of a cloud are moved, and where in the ball they begin.

    Raises:
        ValueError: a window that does not fit into the inputs.
    """
    if kind_of(domain) == "points":
        return _balls(domain, side, seed)
    vector = kind_of(domain) == "vector"
    channels, lengths = (1, domain.shape) if vector else (domain.shape[0], domain.shape[1:])
    stretch = len(lengths) == 1
    length = side or max(FEWEST, round((STRETCH if stretch else SIDE) * min(lengths)))
    if side is None:
        length = min(length, *lengths)
    if not 1 <= length <= min(lengths):
        raise ValueError(f"a window of side {length} does not fit into inputs of shape {domain.shape}")
    starts = [_starts(whole, length) for whole in lengths]
    corners = list(product(*starts))
    grid = torch.arange(math.prod(lengths)).view(lengths)
    index = torch.stack(
        [grid[tuple(slice(at, at + length) for at in corner)].flatten() for corner in corners]
    )
    ends = _ends(domain)
    low, high = (
        end.expand(domain.shape).reshape(channels, -1)[:, index].movedim(1, 0).contiguous() for end in ends
    )
    places = tuple(tuple(float(at) for at in corner) for corner in corners)
    return Windows(domain, channels, index, (low + high) / 2, low, high, places)


def sides_of(domain: Domain, seed: int = 0) -> list[int]:
    """The sizes of windows that a search tries, the smallest first, see `windows_of`."""
    usual = windows_of(domain, seed=seed).index.shape[1]
    lengths = domain.shape[1:] if len(domain.shape) > 1 else domain.shape
    usual = math.isqrt(usual) if len(lengths) == 2 else usual
    return sorted({max(1, min(round(part * usual), *lengths)) for part in SIDES})


def _starts(whole: int, length: int) -> list[int]:
    """Where windows of a length begin along an axis; the last one ends with it."""
    stride = max(1, round(STRIDE * length))
    found = list(range(0, whole - length + 1, stride))
    return found if found[-1] == whole - length else [*found, whole - length]


def _balls(domain: Domain, size: int | None, seed: int) -> Windows:
    """Balls on a grid in the cube; the same points of a cloud, drawn once, go into each."""
    points = domain.shape[1]
    count = size or max(1, min(BALL_POINTS, points // 4))
    if not 1 <= count <= points:
        raise ValueError(f"{count} points cannot replace some of a cloud of {points}")
    generator = generator_for("windows", "balls", seed)
    index = torch.randperm(points, generator=generator)[:count]
    reach = float(domain.extent.max()) / 2
    radius = BALL_RADIUS * reach
    directions = torch.randn(3, count, generator=generator)
    offsets = radius * directions / directions.norm(dim=0)
    line = torch.linspace(radius - reach, reach - radius, BALLS)
    centres = torch.cartesian_prod(line, line, line)
    middle = centres[:, :, None]
    corner = radius / math.sqrt(3)  # the cube in the ball
    start = (middle + offsets).maximum(middle - radius).minimum(middle + radius)
    low, high = (middle.expand_as(start) + way for way in (-corner, corner))
    places = tuple(tuple(row) for row in centres.tolist())
    return Windows(domain, 3, index.expand(len(centres), -1).contiguous(), start, low, high, places)


def _ends(domain: Domain) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value of each element, broadcastable to the shape."""
    bounds = domain.bounds or (0.0, 1.0)
    low = getattr(domain, "low", torch.tensor(bounds[0]))
    return low, low + domain.extent
