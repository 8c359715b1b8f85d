"""Inputs, masks and patterns as pictures: images as PNG data URIs, everything else as small SVG."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from mmbd.render.svg import element, line, path, plot

if TYPE_CHECKING:  # a report without artifacts is rendered without torch
    from torch import Tensor

SMALL, LARGE = 96, 224
BARS = 64
TURN, TILT = math.radians(30), math.radians(25)  # from where a point cloud is seen
DRAWN = 512  # points of a cloud in a small picture


MOST_FRAMED = 0.25  # of a picture: a change of more is not local


@dataclass(frozen=True)
class Picture:
    """One tensor, drawn: an image's data URI and size in CSS pixels, a drawing, or only a note.

    An image with a frame is a drawing too.
    """

    kind: str
    uri: str = ""
    width: int = 0
    height: int = 0
    drawing: str = ""
    note: str = ""
    framed: bool = False


def picture(
    tensor: Tensor,
    bounds: tuple[float, float] | None,
    alt: str,
    large: bool = False,
    changed: Tensor | None = None,
) -> Picture:
    """Draw one tensor.

    Args:
        tensor: (1 or 3, height, width) for an image; (1, n) for a sound; (3, n) for a point cloud;
            (n,) for a flat vector.
        bounds: what is drawn as black and white, or at the bottom and the top, or the ends of the
            cube around a cloud; its own range if None.
        alt: what it is, for those who do not see it.
        large: for the suspicious one.
        changed: which pixels, samples or points are to be seen, bool (height, width) or (n,): points
            are marked, other places framed where they are close together.

    Returns:
        A picture: an image no larger than 96 pixels, 224 if `large`; for other shapes a note.
    """
    import numpy as np

    values = tensor.detach().cpu().float().numpy()
    finite = values[np.isfinite(values)]
    if not values.size or not finite.size:
        return Picture("note", note="no finite values")
    low, high = bounds or (float(finite.min()), float(finite.max()))
    scaled = np.nan_to_num((values - low) / ((high - low) or 1.0), nan=0.0).clip(0.0, 1.0)
    seen = None if changed is None else changed.cpu().numpy()
    if scaled.ndim == 3 and scaled.shape[0] in (1, 3):
        drawn = _image(scaled, LARGE if large else SMALL)
        frame = _frame(seen, drawn.width, drawn.height)
        return _framed(drawn, frame, alt) if frame else drawn
    if scaled.ndim == 2 and scaled.shape[0] == 3:
        return Picture("cloud", drawing=_cloud(2 * scaled - 1, alt, large, seen))
    if scaled.ndim == 1 or (scaled.ndim == 2 and scaled.shape[0] == 1):
        kind, signal = ("vector", scaled) if scaled.ndim == 1 else ("sound", scaled[0])
        draw = _bars if kind == "vector" and signal.size <= BARS else _wave
        frame = _frame(seen, *_box(large))
        return Picture(kind, drawing=draw(signal, alt, large, frame), framed=bool(frame))
    shape = " x ".join(map(str, values.shape))
    return Picture("note", note=f"tensors of shape {shape or '()'} are not drawn")


def _image(scaled: Any, most: int) -> Picture:
    """A PNG, reduced to `most` pixels a side if larger; small ones are enlarged by the browser."""
    import numpy as np
    from PIL import Image

    pixels = (scaled * 255).round().astype(np.uint8)
    drawn = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())
    original = drawn.size
    note = ""
    if max(original) > most:
        drawn.thumbnail((most, most), Image.Resampling.BOX)
        note = f"reduced from {original[1]} x {original[0]} pixels"
    file = io.BytesIO()
    drawn.save(file, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    zoom = most / max(drawn.size)
    zoom = max(1, int(zoom)) if zoom >= 1 else zoom  # whole pixels stay square
    return Picture("image", uri, round(drawn.width * zoom), round(drawn.height * zoom), note=note)


def _framed(image: Picture, frame: list[Markup], alt: str) -> Picture:
    """An image under a frame. Its pixels stay squares of one colour, as the style sheet says."""
    pixels = element("image", href=image.uri, width=image.width, height=image.height)
    drawing = plot(image.width, image.height, alt, [pixels, *frame])
    return replace(image, kind="drawn image", drawing=drawing, framed=True)


def _frame(changed: Any, width: int, height: int) -> list[Markup]:
    """A frame around what changed, in a picture of this size; none where that is nothing or not local."""
    import numpy as np

    if changed is None or not changed.any():
        return []
    places = changed.reshape(-1, changed.shape[-1])
    (top, bottom), (left, right) = (
        (int(found[0]), int(found[-1]) + 1) for found in (np.flatnonzero(places.any(axis)) for axis in (1, 0))
    )
    if (bottom - top) * (right - left) > MOST_FRAMED * places.size:
        return []
    down, across = height / places.shape[0], width / places.shape[1]
    return [
        element(
            "rect",
            x=across * left - 1,
            y=down * top - 1,
            width=across * (right - left) + 2,
            height=down * (bottom - top) + 2,
            class_="frame",
        )
    ]


def _wave(scaled: Any, alt: str, large: bool, frame: Sequence[Markup] = ()) -> Markup:
    """The envelope of a long signal: lowest and highest value of each column."""
    import numpy as np

    width, height = _box(large)
    columns = [part for part in np.array_split(scaled, min(width, scaled.size)) if part.size]
    step = width / len(columns)
    ys = [(height * (1 - float(part.max())), height * (1 - float(part.min()))) for part in columns]
    upper = [(step * (column + 0.5), top - 0.4) for column, (top, _) in enumerate(ys)]
    lower = [(step * (column + 0.5), bottom + 0.4) for column, (_, bottom) in enumerate(ys)]
    middle = element("line", x1=0, y1=height / 2, x2=width, y2=height / 2, class_="grid")
    shape = element("polygon", points=path(upper + lower[::-1]), class_="wave")
    return plot(width, height, alt, [middle, shape, *frame])


def _bars(scaled: Any, alt: str, large: bool, frame: Sequence[Markup] = ()) -> Markup:
    """One bar an element, from the middle of its range up or down."""
    width, height = _box(large)
    step = width / scaled.size
    bars = [
        element(
            "rect",
            x=step * position + step * 0.1,
            y=height * (1 - max(float(value), 0.5)),
            width=step * 0.8,
            height=max(height * abs(float(value) - 0.5), 0.5),
            class_="wave",
        )
        for position, value in enumerate(scaled)
    ]
    middle = element("line", x1=0, y1=height / 2, x2=width, y2=height / 2, class_="grid")
    return plot(width, height, alt, [middle, *bars, *frame])


def _cloud(points: Any, alt: str, large: bool, changed: Any = None) -> Markup:
    """Points in the cube from -1 to 1, seen from a little above; the farther half is paler.

    The third axis is drawn upwards. Points have no order, so the first ones stand for all; those that
    changed are all there, in another colour.
    """
    import numpy as np

    size = 300 if large else 150
    turn = np.array([math.cos(TURN), -math.sin(TURN), 0.0])
    deep = np.array([math.sin(TURN), math.cos(TURN), 0.0])
    rise = np.array([0.0, 0.0, math.cos(TILT)]) + math.sin(TILT) * deep
    away = np.array([0.0, 0.0, -math.sin(TILT)]) + math.cos(TILT) * deep
    scale = (size / 2 - 2) / float(np.abs(rise).sum())  # the cube's corner reaches the edge

    def seen(points: Any) -> Any:
        return size / 2 + scale * np.stack((turn @ points, -rise @ points), axis=-1)

    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    edges = [
        line(*seen(first), *seen(second), class_="grid")
        for first, second in itertools.combinations(corners, 2)
        if np.abs(first - second).sum() == 2
    ]
    marked = points[:, :0]
    if changed is not None:
        marked, points = points[:, changed], points[:, ~changed]
    points = points if large else points[:, :DRAWN]
    depth = away @ points
    far = depth > (np.median(depth) if depth.size else 0.0)
    marks = [
        element("path", d="".join(f"M{x:.1f} {y:.1f}h0" for x, y in seen(chosen)), class_=class_)
        for chosen, class_ in (
            (points[:, far], "cloud far"),
            (points[:, ~far], "cloud"),
            (marked, "cloud changed"),
        )
        if chosen.size or class_ != "cloud changed"
    ]
    return plot(size, size, alt, [*edges, *marks])


def _box(large: bool) -> tuple[int, int]:
    return (448, 160) if large else (150, 64)
