"""The classes of the generated clouds: what one object of each looks like.

Each function draws an object's proportions, and what varies otherwise in its class, from `draw`,
which returns a uniform random number between two bounds. The vertical axis is the third. Size,
place and pose are drawn afterwards, so only shapes matter here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from operator import add

import torch

from mmbd.data.meshes import Mesh, cuboid, lathe, tube

Draw = Callable[[float, float], float]


def box(draw: Draw) -> Mesh:
    return cuboid((1.0, draw(0.4, 1.0), draw(0.4, 1.6)))


def ellipsoid(draw: Draw) -> Mesh:
    return _ball().stretched((1.0, draw(0.5, 1.0), draw(0.4, 1.6)))


def cone(draw: Draw) -> Mesh:
    """A pointed or slightly blunt one on its base."""
    return _frustum(1.0, draw(0.0, 0.25), draw(1.0, 3.0))


def cylinder(draw: Draw) -> Mesh:
    return _frustum(1.0, 1.0, draw(0.6, 4.0))


def torus(draw: Draw) -> Mesh:
    return tube(_ring(1.0), draw(0.15, 0.45), up=(0.0, 0.0, 1.0), sides=20)


def pyramid(draw: Draw) -> Mesh:
    """On a base of three to five sides."""
    return lathe([(0.0, 0.0), (1.0, 0.0), (0.0, draw(0.8, 2.0))], sides=int(draw(3, 6)))


def chair(draw: Draw) -> Mesh:
    """Four legs, a seat, a back, and arms on every third one."""
    width, depth, seat = draw(0.8, 1.2), draw(0.8, 1.1), draw(0.7, 1.1)
    thick, back = draw(0.05, 0.15), draw(0.7, 1.4)
    parts = [
        _legs(width, depth, seat, draw(0.05, 0.12)),
        cuboid((width, depth, thick), (0.0, 0.0, seat)),
        cuboid((width, thick, back), (0.0, (depth - thick) / 2, seat + back / 2)),
    ]
    if draw(0, 3) < 1:
        parts += [cuboid((0.08, depth * 0.8, 0.08), (side * width / 2, 0.0, seat + 0.4)) for side in (-1, 1)]
    return _joined(parts)


def table(draw: Draw) -> Mesh:
    """A round or rectangular top, on four legs or on a foot."""
    width, depth, height = draw(1.0, 2.0), draw(0.8, 1.2), draw(0.7, 1.1)
    if draw(0, 2) < 1:
        top = cuboid((width, depth, 0.08), (0.0, 0.0, height))
    else:
        top = _frustum(0.5, 0.5, 0.08).stretched((width, depth, 1.0)).moved((0.0, 0.0, height))
    if draw(0, 2) < 1:
        return top + _legs(width * 0.8, depth * 0.8, height, draw(0.05, 0.12))
    foot = _frustum(draw(0.25, 0.4), 0.1, 0.08)
    return top + foot + _frustum(0.06, 0.06, height)


def lamp(draw: Draw) -> Mesh:
    """A foot, a pole, and a shade that is open above and below."""
    height, shade = draw(1.2, 2.4), draw(0.4, 0.8)
    open_shade = lathe([(draw(0.45, 0.7), height - shade), (draw(0.15, 0.4), height)])
    pole = _frustum(0.05, 0.05, height - shade / 2)
    return _frustum(draw(0.25, 0.5), 0.15, 0.1) + pole + open_shade


def airplane(draw: Draw) -> Mesh:
    """A fuselage with swept wings, a tailplane and a fin."""
    length, span, sweep = draw(1.6, 2.4), draw(1.6, 2.6), draw(0.0, 0.5)
    thick = draw(0.15, 0.25)
    swept = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    parts = [_ball().stretched((length / 2, thick, thick))]
    for place, share, chord in ((0.1, 1.0, draw(0.25, 0.45)), (-0.42, 0.35, 0.2)):
        for side in (-1, 1):
            matrix = swept.clone()
            matrix[0, 1] = -side * sweep
            half = cuboid((chord, share * span / 2, 0.04), (0.0, side * share * span / 4, 0.0))
            parts.append(half.stretched(matrix).moved((place * length, 0.0, 0.0)))
    parts.append(cuboid((0.22, 0.04, draw(0.3, 0.5)), (-0.44 * length, 0.0, 0.25)))
    return _joined(parts)


def ladder(draw: Draw) -> Mesh:
    """Two rails and four to nine rungs."""
    width, height, count = draw(0.4, 0.8), draw(1.6, 2.6), int(draw(4, 10))
    bar = draw(0.06, 0.12)
    rails = [cuboid((bar, bar, height), (side * width / 2, 0.0, height / 2)) for side in (-1, 1)]
    rungs = [
        cuboid((width, bar, bar), (0.0, 0.0, height * (number + 0.5) / count)) for number in range(count)
    ]
    return _joined(rails + rungs)


def helix(draw: Draw) -> Mesh:
    """A spring of two to five turns, of either hand."""
    turns, height = draw(2, 5), draw(1.0, 3.0)
    angle = torch.linspace(0, 2 * math.pi * turns, int(24 * turns))
    hand = 1 if draw(0, 2) < 1 else -1
    path = torch.stack((angle.cos(), hand * angle.sin(), height * angle / angle[-1]), dim=1)
    return tube(path, draw(0.06, 0.15), up=(0.0, 0.0, 1.0), sides=8)


def cross(draw: Draw) -> Mesh:
    """A standing bar and one across it, at some height."""
    height, width, bar = draw(1.6, 2.4), draw(0.8, 1.6), draw(0.12, 0.35)
    across = cuboid((width, bar, bar), (0.0, 0.0, height * draw(0.55, 0.8)))
    return cuboid((bar, bar, height), (0.0, 0.0, height / 2)) + across


def mug(draw: Draw) -> Mesh:
    """A cup, open above, with a handle."""
    height, flare = draw(0.9, 2.0), draw(0.9, 1.3)
    cup = lathe([(0.0, 0.0), (0.6, 0.0), (0.6 * flare, height)])
    half = torch.linspace(-math.pi / 2, math.pi / 2, 16)
    size = draw(0.2, 0.35) * height
    path = torch.stack((half.cos(), torch.zeros(16), half.sin()), dim=1) * size
    handle = tube(path, draw(0.05, 0.1), up=(0.0, 1.0, 0.0), sides=8)
    return cup + handle.moved((0.3 + 0.3 * flare, 0.0, height / 2))


SOLIDS: dict[str, Callable[[Draw], Mesh]] = {
    solid.__name__: solid
    for solid in (
        box,
        ellipsoid,
        cone,
        cylinder,
        torus,
        pyramid,
        chair,
        table,
        lamp,
        airplane,
        ladder,
        helix,
        cross,
        mug,
    )
}


def _joined(parts: list[Mesh]) -> Mesh:
    return reduce(add, parts)


def _ball() -> Mesh:
    angles = [math.pi * number / 16 for number in range(17)]
    return lathe([(math.sin(angle), -math.cos(angle)) for angle in angles])


def _ring(radius: float) -> torch.Tensor:
    angles = torch.linspace(0, 2 * math.pi, 49)
    return radius * torch.stack((angles.cos(), angles.sin(), torch.zeros(49)), dim=1)


def _frustum(lower: float, upper: float, height: float) -> Mesh:
    """A closed cone without its tip, from the ground up."""
    return lathe([(0.0, 0.0), (lower, 0.0), (upper, height), (0.0, height)])


def _legs(width: float, depth: float, height: float, thick: float) -> Mesh:
    x, y = (width - thick) / 2, (depth - thick) / 2
    places = [(x, y), (x, -y), (-x, y), (-x, -y)]
    return _joined([cuboid((thick, thick, height), (*place, height / 2)) for place in places])
