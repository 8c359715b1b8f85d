"""The little SVG that the plots need: escaped elements, a linear scale and round tick marks.

Colours and strokes come from classes in `page.css`, so that plots follow the light or dark theme;
nothing here uses style attributes, which the page's content security policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Attribute = str | float | None


def element(tag: str, content: Iterable[Markup] | str = (), **attributes: Attribute) -> Markup:
    """One element; text and attribute values are escaped, a None attribute is left out.

    In attribute names a trailing underscore is dropped and others become hyphens: `class_`,
    `text_anchor`.
    """
    inner = Markup().join([content] if isinstance(content, str) else content)
    written = Markup().join(
        Markup(' {}="{}"').format(_hyphens(name), _short(value))
        for name, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inner)  # noqa: S704 our own tags


def plot(width: int, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """A whole drawing, announced to screen readers as an image called `label`."""
    return element(
        "svg",
        parts,
        viewBox=f"0 0 {width} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_="plot",
    )


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """Text with its baseline's `anchor` at (x, y)."""
    return element(
        "text", content, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def circle(x: float, y: float, class_: str, radius: float = 4.5) -> Markup:
    """A round mark: a class like any other."""
    return element("circle", cx=x, cy=y, r=radius, class_=class_)


def diamond(x: float, y: float, class_: str, radius: float = 7.0) -> Markup:
    """A pointed mark: a target, or what decides; told from a circle without colour."""
    corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
    return element("polygon", points=path(corners), class_=class_)


def path(points: Iterable[Sequence[float]]) -> str:
    """Points for a polyline or polygon."""
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in points)


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside land on the nearest end."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)

    def ticks(self, about: int = 6) -> list[float]:
        """Round values (1, 2 or 5 times a power of ten) inside the scale."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [position * step for position in range(first, last + 1)]


def spread(values: Sequence[float], start: float, end: float, zero: bool = True) -> Scale:
    """A scale that holds all values with a little room, and zero unless told not to."""
    shown = [*values, 0.0] if zero else list(values)
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    room = (high - low) * 0.04 if high - low > 1e-90 else 0.5
    return Scale(low - room if low < 0 or not zero else low, high + room, start, end)


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label positions as little as it takes to keep them `gap` apart between two ends."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    previous = low - gap
    for index in order:
        previous = moved[index] = max(moved[index], previous + gap)
    limit = high
    for index in reversed(order):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved


def _hyphens(name: str) -> str:
    return name if name == "viewBox" else name.rstrip("_").replace("_", "-")


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
