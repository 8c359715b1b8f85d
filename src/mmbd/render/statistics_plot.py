"""The plot of every class's statistic, under the null density that the paper fits to them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from mmbd.base.text import number
from mmbd.render import words
from mmbd.render.plots import caption, grid, name_width
from mmbd.render.svg import Scale, circle, diamond, element, line, path, plot, spread, text
from mmbd.results.report import PValue, Report

ROWS = 20
ROW_HEIGHT = 24
DENSITY_HEIGHT = 66


def statistics(report: Report, width: int) -> Markup:
    """Every class's statistic as a dot on a common axis, under the null that the paper fits.

    The largest get a row with a name each; the rest share one row. Targets are diamonds.
    """
    order = words.ranking(report)
    rows = order if len(order) <= ROWS + 1 else order[:ROWS]
    rows = rows + [label for label in report.targets if label in order and label not in rows][:10]
    rest = sorted(set(order) - set(rows))
    values = {label: report.statistics[label] or 0.0 for label in order}
    narrow = width < 500
    captions = {label: caption(report, label, 9 if narrow else 24) for label in rows}
    left = name_width([*captions.values(), f"{len(rest)} others" if rest else ""])
    right = 100 if report.targets else 60
    gamma, critical = gamma_fit(report), _critical(report)
    shown = [*values.values(), *([] if critical is None else [critical])]
    if gamma is not None:  # leave room for most of the null
        shape, loc, size = _gamma_parameters(gamma)
        tail = loc + size * (shape + 4 * math.sqrt(shape))
        shown.append(max(0.0, min(1.3 * max(shown), tail)))
    scale = spread(shown, left, width - right)
    top = 10.0 + (gamma is not None) * (DENSITY_HEIGHT + 10) + (critical is not None) * 20
    bottom = top + ROW_HEIGHT * (len(rows) + bool(rest))
    parts = grid(scale, top, bottom, "maximum margin (logits)", 4 if narrow else 7)
    if gamma is not None:
        parts += _densities(gamma, len(order), scale, 10 + DENSITY_HEIGHT)
    margins = words.margins(report)
    for row, label in enumerate(rows):
        y = top + ROW_HEIGHT * (row + 0.5)
        x = scale(values[label])
        parts.append(_row(report, label, captions[label], margins[label], left, x, y))
    if rest:
        parts.append(text(left - 10, bottom - 8, f"{len(rest)} others", "label muted", "end"))
        parts += _histogram([scale(values[label]) for label in rest], bottom)
    if critical is not None:
        x = scale(critical)
        parts += [
            line(x, top - 6, x, bottom, "critical"),
            text(x, top - 10, f"critical {number(critical)}", "label", "middle"),
        ]
    label = f"Maximum margins of {len(order)} classes"
    if order:
        first = max(order, key=lambda label: values[label])
        label += f"; the largest is {margins[first]}, of {words.class_label(report, first)}"
    return plot(width, bottom + 44, label, parts)


def _row(report: Report, label: int, name: str, value: str, left: float, x: float, y: float) -> Markup:
    target = label in report.targets
    style = "label target" if target else "label"
    full = words.class_label(report, label, 80)
    parts = [
        element("title", f"{full}: {value} logits{', target' if target else ''}"),
        line(left, y, x, y, "stem target" if target else "stem"),
        diamond(x, y, "mark target") if target else circle(x, y, "mark"),
        text(left - 10, y + 4, name, style, "end"),
        text(x + 12, y + 4, f"{value} target" if target else value, style),
    ]
    return element("g", parts)


def _histogram(places: Sequence[float], base: float, bin_width: int = 5) -> list[Markup]:
    """How many of the places fall into each bin of pixels, as bars on `base`."""
    counts = Counter(int(place // bin_width) for place in places)
    highest = max(counts.values())
    heights = {index: 2 + (ROW_HEIGHT - 6) * found / highest for index, found in counts.items()}
    return [
        element(
            "rect", x=index * bin_width, y=base - height, width=bin_width - 1, height=height, class_="others"
        )
        for index, height in sorted(heights.items())
    ]


def gamma_fit(report: Report) -> PValue | None:
    """The null with a usable Gamma fit: the paper's if there is one."""
    for null in ("paper", "authors"):
        for entry in report.p_values:
            shape, loc, scale = (entry.parameters.get(key) for key in ("shape", "loc", "scale"))
            if entry.null != null or not (shape and scale) or loc is None:
                continue
            if shape > 0 and scale > 0 and all(map(words.is_number, (shape, loc, scale))):
                return entry
    return None


def _gamma_parameters(entry: PValue) -> tuple[float, float, float]:
    shape, loc, scale = (entry.parameters[key] or 0.0 for key in ("shape", "loc", "scale"))
    return shape, loc, scale


def _critical(report: Report) -> float | None:
    """A critical value of the deciding null, if it is a margin and not another test statistic."""
    entry = words.deciding(report)
    if entry is None or "statistic" in entry.parameters:
        return None
    value = entry.parameters.get("critical")
    return value if words.is_number(value) else None


def _densities(entry: PValue, classes: int, scale: Scale, base: float) -> list[Markup]:
    """The fitted density of one class, and that of the largest of them; each of full height."""
    from scipy import stats

    shape, loc, size = _gamma_parameters(entry)
    given = entry.parameters.get("exponent")
    exponent = given if given is not None and given >= 1 else max(classes - 1, 1)
    steps = 200
    points = [scale.low + (scale.high - scale.low) * step / steps for step in range(steps + 1)]
    density = [float(value) for value in stats.gamma.pdf(points, shape, loc, size)]
    below = [float(value) for value in stats.gamma.cdf(points, shape, loc, size)]
    largest = [value * share ** (exponent - 1) for value, share in zip(density, below, strict=True)]
    parts: list[Markup] = []
    for heights, style in ((density, "density"), (largest, "density largest")):
        peak = max((value for value in heights if math.isfinite(value)), default=0.0)
        outline = [
            (scale(x), base - DENSITY_HEIGHT * min(value / peak, 1.0))
            for x, value in zip(points, heights, strict=True)
            if peak > 0 and value > peak / 500
        ]
        if outline:
            feet = [(outline[0][0], base), *outline, (outline[-1][0], base)]
            parts.append(element("polygon", points=path(feet), class_=f"{style} area"))
            parts.append(element("polyline", points=path(outline), class_=style))
    return parts
