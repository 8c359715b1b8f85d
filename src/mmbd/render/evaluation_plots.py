"""The plots of an evaluation as inline SVG: ROC curves, and rates as bars with their intervals.

A detector has the same colour and dashes everywhere, `series-0` and so on in `evaluation.css`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from mmbd.base.text import clean_text
from mmbd.evaluation.metrics import PARTIAL, Rate
from mmbd.evaluation.tables import Figures
from mmbd.render.plots import grid, name_width
from mmbd.render.svg import Scale, diamond, element, line, path, plot, text

SERIES = 8
BAR_HEIGHT, BAR_GAP, PART_GAP = 12, 4, 14
PARTS = 60  # more would be a picture that nobody reads; the table has them all


def series(detectors: Sequence[str]) -> dict[str, str]:
    """The style class of every detector."""
    return {name: f"series series-{index % SERIES}" for index, name in enumerate(detectors)}


def roc(rows: Sequence[Figures], styles: Mapping[str, str], width: int) -> Markup:
    """ROC curves of all detectors; in a wide drawing once more up to a false-positive rate of 0.25.

    A diamond is where a detector stands at the level asked for: false positives, and detections
    with a right target. It lies below its curve where models are flagged for a wrong class.
    """
    left, right, top = 48, 14, 14
    size = min(340, width - left - right)
    parts = _panel(rows, styles, left, top, size, 1.0)
    if width >= 2 * (size + left) + right:
        parts += _panel(rows, styles, width - right - size, top, size, PARTIAL)
    names = ", ".join(f"{clean_text(row.detector, 40)} {row.auc.value:.3f}" for row in rows if row.auc)
    label = f"ROC curves of {len(rows)} detectors, by area: {names}"
    return plot(width, top + size + 44, label, parts)


def _panel(
    rows: Sequence[Figures], styles: Mapping[str, str], left: float, top: float, size: float, limit: float
) -> list[Markup]:
    across = Scale(0, limit, left, left + size)
    up = Scale(0, 1, top + size, top)
    parts = grid(across, top, top + size, "false-positive rate", 5)
    for tick in up.ticks(5):
        parts += [
            line(left, up(tick), left + size, up(tick), "grid"),
            text(left - 8, up(tick) + 4, f"{tick:g}", "tick", "end"),
        ]
    middle = top + size / 2
    parts += [
        element(
            "text",
            "true-positive rate",
            class_="axis",
            text_anchor="middle",
            transform=f"translate({left - 36:g} {middle:g}) rotate(-90)",
        ),
        line(across(0), up(0), across(limit), up(limit), "chance"),
    ]
    for row in rows:
        if not row.roc:
            continue
        style = styles[row.detector]
        shape = path((across(x), up(y)) for x, y in _clipped(row.roc, limit))
        drawn = [element("title", _legend(row)), element("polyline", points=shape, class_=f"roc {style}")]
        alarms, hits = row.false_positives.share, row.detection.share
        if alarms is not None and hits is not None and alarms <= limit:
            drawn.append(diamond(across(alarms), up(hits), f"point {style}", 6))
        parts.append(element("g", drawn))
    return parts


def _clipped(corners: Sequence[tuple[float, float]], limit: float) -> list[tuple[float, float]]:
    """The curve up to a false-positive rate of `limit`."""
    found = [corner for corner in corners if corner[0] <= limit]
    if len(found) < len(corners):
        (x0, y0), (x1, y1) = found[-1], corners[len(found)]
        found.append((limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)))
    return found


def _legend(row: Figures) -> str:
    area = "" if row.auc is None else f": AUC {row.auc.value:.3f}"
    return f"{clean_text(row.detector, 80)}{area}"


def bars(
    rows: Sequence[tuple[str, str, Rate]],
    styles: Mapping[str, str],
    title: str,
    width: int,
    level: float | None = None,
) -> Markup:
    """Rates from 0 to 1 as bars with their 95 % intervals, grouped by part.

    Args:
        rows: part, detector and rate; those of a part follow each other.
        styles: of the detectors, see `series`.
        title: of the axis.
        width: in CSS pixels.
        level: a line to compare with.
    """
    narrow = width < 500
    kept = list(dict.fromkeys(part for part, _, _ in rows))[:PARTS]
    captions = {part: clean_text(part, 14 if narrow else 26) for part in kept}
    left, right = name_width(list(captions.values())), 58 if narrow else 66
    scale = Scale(0, 1, left, width - right)
    top = 12.0 if level is None else 30.0
    y, previous, body = top, None, list[Markup]()
    for part, detector, rate in rows:
        if part not in captions or rate.share is None:
            continue
        if part != previous:
            y += PART_GAP if previous is not None else 4
            members = sum(1 for other, _, _ in rows if other == part)
            middle = y + (members * (BAR_HEIGHT + BAR_GAP) - BAR_GAP) / 2
            body.append(text(left - 10, middle + 4, captions[part], "label", "end"))
            previous = part
        body.append(_bar(part, detector, rate, styles[detector], scale, y, width - right + 10))
        y += BAR_HEIGHT + BAR_GAP
    bottom = y + 4
    parts = grid(scale, top, bottom, title, 5)
    if level is not None:
        x = scale(level)
        parts += [
            line(x, top - 6, x, bottom, "critical"),
            text(x, top - 11, f"level {level:g}", "label", "middle"),
        ]
    return plot(width, bottom + 44, f"{title} of {len(kept)} parts of the zoo", [*parts, *body])


def _bar(part: str, detector: str, rate: Rate, style: str, scale: Scale, y: float, after: float) -> Markup:
    share = rate.share or 0.0
    middle = y + BAR_HEIGHT / 2
    start, end = scale(rate.low), scale(rate.high)
    said = f"{clean_text(part, 80)}, {clean_text(detector, 80)}: {rate.hits} of {rate.n}"
    return element(
        "g",
        [
            element("title", f"{said}, 95 % interval {rate.low:.3f} to {rate.high:.3f}"),
            element(
                "rect",
                x=scale(0),
                y=y,
                width=max(scale(share) - scale(0), 1.5),
                height=BAR_HEIGHT,
                class_=f"rate {style}",
            ),
            line(start, middle, end, middle, "whisker"),
            line(start, middle - 3, start, middle + 3, "whisker"),
            line(end, middle - 3, end, middle + 3, "whisker"),
            text(after, middle + 4, f"{rate.hits}/{rate.n}", "label"),
        ],
    )
