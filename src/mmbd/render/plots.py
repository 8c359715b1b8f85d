"""The report's plots as inline SVG: statistics against the null, p-values, optimisation curves.

Every plot is drawn for a width in CSS pixels; the page holds a wide and a narrow drawing of each
and shows the one that fits. Text sizes therefore stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from mmbd.render import words
from mmbd.render.svg import (
    Scale,
    apart,
    circle,
    diamond,
    element,
    line,
    path,
    plot,
    spread,
    text,
)
from mmbd.render.text import number, probability
from mmbd.report import PValue, Report

ROWS = 20
CURVES = 24
CURVE_POINTS = 120
ROW_HEIGHT = 24
DENSITY_HEIGHT = 92
LOWEST_EXPONENT = -12


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
    left, right = (96, 74) if narrow else (190, 110)
    gamma, critical = _gamma(report), _critical(report)
    shown = [*values.values(), *([] if critical is None else [critical])]
    scale = spread(shown, left, width - right)
    top = DENSITY_HEIGHT + 34 if gamma is not None else 26
    bottom = top + ROW_HEIGHT * (len(rows) + bool(rest))
    parts = _grid(scale, top, bottom, "maximum margin (logits)", 4 if narrow else 7)
    if gamma is not None:
        parts += _densities(gamma, len(order), scale, top - 10, narrow)
    for row, label in enumerate(rows):
        y = top + ROW_HEIGHT * (row + 0.5)
        parts.append(_row(report, label, scale(values[label]), y, left, width, narrow))
    if rest:
        y = bottom - ROW_HEIGHT / 2
        parts.append(text(left - 10, y + 4, f"{len(rest)} others", "label muted", "end"))
        places = sorted({round(scale(values[label])) for label in rest})
        parts += [line(x, y - 6, x, y + 6, "rug") for x in places]
    if critical is not None:
        x = scale(critical)
        parts += [
            line(x, top - 6, x, bottom, "critical"),
            text(x, top - 10, f"critical {number(critical)}", "label", "middle"),
        ]
    label = f"Maximum margins of {len(order)} classes"
    if order:
        largest = words.class_label(report, order[0])
        label += f"; the largest is {number(values[order[0]])}, of {largest}"
    return plot(width, bottom + 44, label, parts)


def _row(
    report: Report, label: int, x: float, y: float, left: float, width: int, narrow: bool
) -> Markup:
    target = label in report.targets
    value = number(report.statistics[label])
    name = words.class_name(report, label, 9 if narrow else 20)
    caption = f"{label} {name}".strip()
    style = "label target" if target else "label"
    full = words.class_label(report, label, 80)
    parts = [
        element("title", f"{full}: {value} logits{', target' if target else ''}"),
        line(left, y, x, y, "stem target" if target else "stem"),
        diamond(x, y, "mark target") if target else circle(x, y, "mark"),
        text(left - 10, y + 4, caption, style, "end"),
        text(x + 12, y + 4, f"{value} target" if target else value, style),
    ]
    return element("g", parts)


def _gamma(report: Report) -> PValue | None:
    """The null with a usable Gamma fit: the paper's if there is one."""
    for null in ("paper", "authors"):
        for entry in report.p_values:
            shape, loc, scale = (entry.parameters.get(key) for key in ("shape", "loc", "scale"))
            if entry.null != null or not (shape and scale) or loc is None:
                continue
            if shape > 0 and scale > 0 and all(map(math.isfinite, (shape, loc, scale))):
                return entry
    return None


def _critical(report: Report) -> float | None:
    """A critical value of the deciding null, if it is a margin and not another test statistic."""
    entry = words.deciding(report)
    if entry is None or "statistic" in entry.parameters:
        return None
    value = entry.parameters.get("critical")
    return value if words.is_number(value) else None


def _densities(
    entry: PValue, classes: int, scale: Scale, base: float, narrow: bool
) -> list[Markup]:
    """The fitted density of one class, and that of the largest of them."""
    from scipy import stats

    shape, loc, size = (entry.parameters[key] or 0.0 for key in ("shape", "loc", "scale"))
    exponent = entry.parameters.get("exponent") or max(classes - 1, 1)
    steps = 160
    points = [scale.low + (scale.high - scale.low) * step / steps for step in range(steps + 1)]
    density = [float(value) for value in stats.gamma.pdf(points, shape, loc, size)]
    below = [float(value) for value in stats.gamma.cdf(points, shape, loc, size)]
    largest = [
        exponent * value * share ** (exponent - 1)
        for value, share in zip(density, below, strict=True)
    ]
    kind = words.null_name(entry.null)
    legend = [
        ("density", f"fit to the others, {kind}", density),
        ("density largest", f"largest of {exponent:.0f} under it", largest),
    ]
    parts: list[Markup] = []
    for row, (class_, caption, heights) in enumerate(legend):
        peak = max((value for value in heights if math.isfinite(value)), default=0.0)
        if peak <= 0:
            continue
        outline = [
            (scale(x), base - (DENSITY_HEIGHT - 34) * min(value / peak, 1.0))
            for x, value in zip(points, heights, strict=True)
            if not math.isnan(value)
        ]
        ends = [(outline[-1][0], base), (outline[0][0], base)]
        x, y = (0.0 if narrow else scale.start - 180), 14.0 + 17 * row
        parts += [
            element("polygon", points=path(outline + ends), class_=f"{class_} area"),
            element("polyline", points=path(outline), class_=class_),
            line(x, y - 4, x + 16, y - 4, class_),
            text(x + 22, y, caption, "label muted"),
        ]
    return parts


def p_values(report: Report, width: int) -> Markup:
    """Every null's p-value on a logarithmic axis, with the level asked for."""
    known = [entry for entry in report.p_values if words.is_number(_log10(entry))]
    logs = [max(_log10(entry) or 0.0, LOWEST_EXPONENT) for entry in known]
    lowest = math.floor(min([*logs, math.log10(report.level), -3.0]) - 0.2)
    narrow = width < 500
    left, right = (112, 64) if narrow else (190, 110)
    scale = Scale(lowest, 0, left, width - right)
    top, bottom = 26, 26 + ROW_HEIGHT * len(known)
    step = 1 if lowest >= -6 else 3
    parts: list[Markup] = []
    for exponent in range(-step * (-lowest // step), 1, step):
        x = scale(exponent)
        parts += [
            line(x, top, x, bottom, "grid"),
            text(x, bottom + 18, f"1e{exponent}" if exponent else "1", "tick", "middle"),
        ]
    x = scale(math.log10(report.level))
    parts += [
        text((left + width - right) / 2, bottom + 37, "p-value", "axis", "middle"),
        line(x, top - 6, x, bottom, "critical"),
        text(x, top - 11, f"level {report.level:g}", "label", "middle"),
    ]
    for row, (entry, log) in enumerate(zip(known, logs, strict=True)):
        y = top + ROW_HEIGHT * (row + 0.5)
        decides = entry.null == report.null
        style = "label decides" if decides else "label"
        value = probability(entry.value, entry.log10)
        name = words.null_name(entry.null)
        short = name if len(name) <= (16 if narrow else 24) else name[:13] + "..."
        parts.append(
            element(
                "g",
                [
                    element("title", f"{name}: p = {value}{', decides' if decides else ''}"),
                    (diamond if decides else circle)(
                        scale(log), y, "mark decides" if decides else "mark"
                    ),
                    text(left - 10, y + 4, short, style, "end"),
                    text(width - right + 14, y + 4, value, style),
                ],
            )
        )
    return plot(width, bottom + 44, "p-values of every null on a logarithmic axis", parts)


def _log10(entry: PValue) -> float | None:
    if entry.value is None:
        return None
    if words.is_number(entry.log10):
        return entry.log10
    return math.log10(entry.value) if entry.value > 0 else LOWEST_EXPONENT


def curves(report: Report, width: int) -> Markup:
    """The margin along the best search of each class; targets thick and named."""
    order = [label for label in words.ranking(report) if report.curves.get(label)]
    chosen = [label for label in report.targets if label in order]
    chosen += [label for label in order if label not in chosen][: CURVES - len(chosen)]
    lines = {label: _points(report.curves[label]) for label in chosen}
    lines = {label: points for label, points in lines.items() if points}
    narrow = width < 500
    left, right, top, bottom = 52, (84 if narrow else 130), 14, (230 if narrow else 290)
    across = Scale(0, max([points[-1][0] for points in lines.values()] + [1]), left, width - right)
    heights = [value for points in lines.values() for _, value in points]
    up = spread(heights, bottom, top)
    parts = _grid(across, top, bottom, "gradient evaluation", 4 if narrow else 8)
    for tick in up.ticks(5):
        y = up(tick)
        parts += [
            line(left, y, width - right, y, "grid"),
            text(left - 8, y + 4, f"{tick:g}", "tick", "end"),
        ]
    parts.append(
        element("text", "margin (logits)", class_="axis", text_anchor="middle",
                transform=f"translate(12 {(top + bottom) / 2:g}) rotate(-90)")
    )  # fmt: skip
    # The targets come last, on top of the others.
    for label in sorted(lines, key=lambda label: label in report.targets):
        shape = [(across(step), up(value)) for step, value in lines[label]]
        style = "curve target" if label in report.targets else "curve"
        title = f"{words.class_label(report, label, 80)}: {number(report.statistics[label])} logits"
        parts.append(
            element(
                "g",
                [
                    element("title", title),
                    element("polyline", points=path(shape), class_=style),
                    circle(*shape[-1], f"mark {style}", 2.5),
                ],
            )
        )
    named = [label for label in report.targets if label in lines][:5]
    named += [label for label in lines if label not in named][:1]
    ends = [up(lines[label][-1][1]) for label in named]
    for label, y in zip(named, apart(ends, 15, top, bottom), strict=True):
        caption = f"{label} {words.class_name(report, label, 9 if narrow else 14)}".strip()
        style = "label target" if label in report.targets else "label muted"
        parts.append(text(across(lines[label][-1][0]) + 8, y + 4, caption, style))
    label = f"Margins of {len(lines)} classes over the steps of their best searches"
    return plot(width, bottom + 44, label, parts)


def _points(curve: Sequence[float | None]) -> list[tuple[int, float]]:
    """(step, margin) of the finite values, thinned where there are many; the last one stays."""
    known = [
        (step, value)
        for step, value in enumerate(curve, start=1)
        if value is not None and math.isfinite(value)
    ]
    stride = max(1, len(known) // CURVE_POINTS)
    return known[:-1:stride] + known[-1:]


def _grid(scale: Scale, top: float, bottom: float, title: str, about: int) -> list[Markup]:
    """Vertical lines at round values, their labels below, and the axis title."""
    parts: list[Markup] = []
    for tick in scale.ticks(about):
        x = scale(tick)
        parts += [
            line(x, top, x, bottom, "grid"),
            text(x, bottom + 18, f"{tick:g}", "tick", "middle"),
        ]
    middle = (scale.start + scale.end) / 2
    return [*parts, text(middle, bottom + 37, title, "axis", "middle")]
