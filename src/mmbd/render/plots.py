"""The report's plots as inline SVG: here the p-values and the optimisation curves.

Every plot is drawn for a width in CSS pixels; the page holds a wide and a narrow drawing of each
and shows the one that fits. Text sizes therefore stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup
from rich.cells import cell_len

from mmbd.base.text import clean_text, probability
from mmbd.render import classes, words
from mmbd.render.svg import Scale, apart, circle, diamond, element, line, path, plot, spread, text
from mmbd.results.finding import Test
from mmbd.results.report import Report

Draw = Callable[[Report, int], Markup]

CURVES = 24
CURVE_POINTS = 120
ROW_HEIGHT = 24
LOWEST_EXPONENT = -12


def p_values(report: Report, width: int) -> Markup:
    """Every test's p-value on a logarithmic axis, with the level asked for."""
    known = [test for test in report.finding.tests if classes.is_number(_log10(test))]
    logs = [max(_log10(test) or 0.0, LOWEST_EXPONENT) for test in known]
    lowest = math.floor(min([*logs, math.log10(report.level), -3.0]) - 0.2)
    narrow = width < 500
    names = [clean_text(words.title_of(report, test.name), 16 if narrow else 24) for test in known]
    left, right = name_width(names), 76 if narrow else 96
    scale = Scale(lowest, 0, left, width - right)
    top, bottom = 26, 26 + ROW_HEIGHT * len(known)
    step = max(1, math.ceil(-lowest * 46 / (scale.end - scale.start)))
    parts: list[Markup] = []
    for exponent in range(-step * (-lowest // step), 1, step):
        x = scale(exponent)
        parts += [
            line(x, top, x, bottom, "grid"),
            text(x, bottom + 18, f"{10.0**exponent:g}", "tick", "middle"),
        ]
    x = scale(math.log10(report.level))
    parts += [
        text((left + width - right) / 2, bottom + 37, "p-value", "axis", "middle"),
        line(x, top - 6, x, bottom, "critical"),
        text(x, top - 11, f"level {report.level:g}", "label", "middle"),
    ]
    for row, (test, log) in enumerate(zip(known, logs, strict=True)):
        y = top + ROW_HEIGHT * (row + 0.5)
        decides = test.name == report.finding.decided_by
        style = "label decides" if decides else "label"
        value = probability(test.p_value, test.log10)
        name = words.title_of(report, test.name)
        parts.append(
            element(
                "g",
                [
                    element("title", f"{name}: p = {value}{', decides' if decides else ''}"),
                    (diamond if decides else circle)(scale(log), y, "mark decides" if decides else "mark"),
                    text(left - 10, y + 4, names[row], style, "end"),
                    text(width - right + 14, y + 4, value, style),
                ],
            )
        )
    return plot(
        width, bottom + 44, f"p-values of every {words.about(report).test} on a logarithmic axis", parts
    )


def _log10(test: Test) -> float | None:
    if not classes.is_number(test.p_value):
        return None
    if classes.is_number(test.log10):
        return test.log10
    return math.log10(test.p_value) if test.p_value > 0 else LOWEST_EXPONENT


def curves(report: Report, width: int) -> Markup:
    """The number along the best search of each class; targets thick and named."""
    traces, column, about = report.finding.traces, classes.statistic(report), words.about(report)
    order = [label for label in classes.ranking(report) if traces.get(label)]
    order += [label for label in traces if label not in order]
    chosen = [label for label in report.targets if label in order]
    chosen += [label for label in order if label not in chosen][: CURVES - len(chosen)]
    lines = {label: _points(traces[label]) for label in chosen}
    lines = {label: points for label, points in lines.items() if points}
    narrow = width < 500
    left, right, top, bottom = 52, (84 if narrow else 130), 14, (230 if narrow else 290)
    across = Scale(0, max([points[-1][0] for points in lines.values()] + [1]), left, width - right)
    heights = [value for points in lines.values() for _, value in points]
    up = spread(heights, bottom, top)
    parts = grid(across, top, bottom, clean_text(about.step), 4 if narrow else 8)
    for tick in up.ticks(5):
        y = up(tick)
        parts += [line(left, y, width - right, y, "grid"), text(left - 8, y + 4, f"{tick:g}", "tick", "end")]
    parts.append(
        element(
            "text",
            classes.heading(column),
            class_="axis",
            text_anchor="middle",
            transform=f"translate(12 {(top + bottom) / 2:g}) rotate(-90)",
        )
    )
    texts = classes.numbers(column)
    # The targets come last, on top of the others.
    for label in sorted(lines, key=lambda label: label in report.targets):
        shape = [(across(step), up(value)) for step, value in lines[label]]
        style = "curve target" if label in report.targets else "curve"
        value = classes.with_unit(texts[label], column)
        title = f"{classes.class_label(report, label, 80)}: {value}"
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
        name = caption(report, label, 9 if narrow else 14)
        style = "label target" if label in report.targets else "label muted"
        parts.append(text(across(lines[label][-1][0]) + 8, y + 4, name, style))
    label = f"{classes.capital(classes.heading(column))} of {len(lines)} classes along their searches"
    return plot(width, bottom + 44, label, parts)


def _points(curve: Sequence[float | None]) -> list[tuple[int, float]]:
    """(step, number) of the finite values, thinned where there are many; the last one stays."""
    known = [(step, value) for step, value in enumerate(curve, start=1) if classes.is_number(value)]
    stride = max(1, len(known) // CURVE_POINTS)
    return known[:-1:stride] + known[-1:]


def caption(report: Report, label: int, limit: int) -> str:
    """A class beside its mark: the number, and the name if it has one."""
    return f"{label} {classes.class_name(report, label, limit)}".strip()


def name_width(captions: Sequence[str]) -> float:
    """Room for the widest label left of an axis, by a generous guess at the font."""
    return 16 + 8.0 * max(cell_len(caption) for caption in captions or [""])


def grid(scale: Scale, top: float, bottom: float, title: str, about: int) -> list[Markup]:
    """Vertical lines at round values, their labels below, and the axis title."""
    parts: list[Markup] = []
    for tick in scale.ticks(about):
        x = scale(tick)
        parts += [line(x, top, x, bottom, "grid"), text(x, bottom + 18, f"{tick:g}", "tick", "middle")]
    middle = (scale.start + scale.end) / 2
    return [*parts, text(middle, bottom + 37, title, "axis", "middle")]
