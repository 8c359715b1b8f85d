"""The plot of every class's statistic, under the density of a Gamma that a test fitted to them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from mmbd.base.text import number
from mmbd.render import classes, words
from mmbd.render.plots import caption, grid, name_width
from mmbd.render.svg import Scale, circle, diamond, element, line, path, plot, spread, text
from mmbd.results.finding import Column, Test
from mmbd.results.report import Report

ROWS = 20
ROW_HEIGHT = 24
DENSITY_HEIGHT = 66


def statistics(report: Report, width: int) -> Markup:
    """Every class's statistic as a dot on a common axis, under the Gamma that a test fitted.

    The most suspicious get a row with a name each; the rest share one row. Targets are diamonds.
    """
    column, values = classes.statistic(report), classes.measured(report)
    order = list(values)
    rows = order if len(order) <= ROWS + 1 else order[:ROWS]
    rows = rows + [label for label in report.targets if label in values and label not in rows][:10]
    rest = sorted(set(order) - set(rows))
    narrow = width < 500
    captions = {label: caption(report, label, 9 if narrow else 24) for label in rows}
    left = name_width([*captions.values(), f"{len(rest)} others" if rest else ""])
    right = 100 if report.targets else 60
    gamma, threshold = gamma_fit(report), _threshold(report)
    shown = [*values.values(), *([] if threshold is None else [threshold])]
    if gamma is not None:  # leave room for most of the null
        shape, loc, size = _gamma_parameters(gamma)
        tail = loc + size * (shape + 4 * math.sqrt(shape))
        shown.append(max(0.0, min(1.3 * max(shown), tail)))
    scale = spread(shown, left, width - right)
    top = 10.0 + (gamma is not None) * (DENSITY_HEIGHT + 10) + (threshold is not None) * 20
    bottom = top + ROW_HEIGHT * (len(rows) + bool(rest))
    parts = grid(scale, top, bottom, classes.heading(column), 4 if narrow else 7)
    if gamma is not None:
        parts += _densities(gamma, len(order), scale, 10 + DENSITY_HEIGHT)
    texts = classes.numbers(column)
    for row, label in enumerate(rows):
        y = top + ROW_HEIGHT * (row + 0.5)
        x = scale(values[label])
        parts.append(_row(report, label, captions[label], texts[label], left, x, y))
    if rest:
        parts.append(text(left - 10, bottom - 8, f"{len(rest)} others", "label muted", "end"))
        parts += _histogram([scale(values[label]) for label in rest], bottom)
    if threshold is not None:
        x = scale(threshold)
        parts += [
            line(x, top - 6, x, bottom, "critical"),
            text(x, top - 10, f"threshold {number(threshold)}", "label", "middle"),
        ]
    return plot(width, bottom + 44, _described(report, column, values, texts), parts)


def _described(report: Report, column: Column, values: Mapping[int, float], texts: Sequence[str]) -> str:
    """What the plot shows, for those who do not see it."""
    label = f"{classes.capital(classes.heading(column))} of {len(values)} classes"
    if not values:
        return label
    low = column.suspicious == "low"
    first = (min if low else max)(values, key=lambda label: values[label])
    end = "smallest" if low else "largest"
    return f"{label}; the {end} is {texts[first]}, of {classes.class_label(report, first)}"


def _row(report: Report, label: int, name: str, value: str, left: float, x: float, y: float) -> Markup:
    target = label in report.targets
    style = "label target" if target else "label"
    full = classes.class_label(report, label, 80)
    told = classes.with_unit(value, classes.statistic(report))
    parts = [
        element("title", f"{full}: {told}{', target' if target else ''}"),
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


def gamma_fit(report: Report) -> Test | None:
    """The test with a usable Gamma fit to the first column: the first that the detector's row names."""
    tests = {test.name: test for test in report.finding.tests}
    for name in words.about(report).gamma:
        if name not in tests:
            continue
        shape, loc, scale = (tests[name].parameters.get(key) for key in ("shape", "loc", "scale"))
        if not (shape and scale) or loc is None:
            continue
        if shape > 0 and scale > 0 and all(map(classes.is_number, (shape, loc, scale))):
            return tests[name]
    return None


def _gamma_parameters(test: Test) -> tuple[float, float, float]:
    shape, loc, scale = (test.parameters[key] or 0.0 for key in ("shape", "loc", "scale"))
    return shape, loc, scale


def _threshold(report: Report) -> float | None:
    """The deciding test's threshold, if it is one for this very column and no other statistic."""
    test = report.finding.test
    if test is None or not classes.is_number(test.threshold):
        return None
    own = test.statistic is None or test.statistic in classes.statistic(report).values
    return test.threshold if own else None


def _densities(test: Test, classes: int, scale: Scale, base: float) -> list[Markup]:
    """The fitted density of one class, and that of the largest of them; each of full height."""
    from scipy import stats

    shape, loc, size = _gamma_parameters(test)
    given = test.parameters.get("exponent")
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
