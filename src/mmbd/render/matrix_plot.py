"""A matrix of numbers by source and target class as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mmbd.base.text import number
from mmbd.render import classes
from mmbd.render.plots import caption, name_width
from mmbd.render.svg import element, plot, text
from mmbd.results.finding import Matrix
from mmbd.results.report import Report

MOST = 40  # classes


@dataclass(frozen=True)
class HeatMap:
    """A drawing for every width, its title, and what is to be said of it."""

    title: str
    note: str
    drawings: tuple[Markup, ...]


def heat_map(report: Report, matrix: Matrix, widths: Sequence[int]) -> HeatMap | None:
    """The matrix with a row a source class and a column a target class; None without a number."""
    found = classes.pairs(matrix)
    if not found:
        return None
    shown = _shown(found, len(matrix.values))
    texts = dict(zip(found, classes.alike([value for _, _, value in found]), strict=True))
    (source, target, _), first = found[0], texts[found[0]]
    ends = f"{classes.class_label(report, source)} to {classes.class_label(report, target)}"
    low = matrix.suspicious == "low"
    note = (
        f"A row is a source class, a column a target class; the darker, the {'lower' if low else 'higher'}. "
        f"The {'lowest' if low else 'highest'}, {classes.with_unit(first, matrix)}, is from {ends}."
    )
    if len(shown) < len(matrix.values):
        note += f" Drawn are the {len(shown)} classes of the most suspicious pairs, of {len(matrix.values)}."
    cells = [(pair, texts[pair]) for pair in found if pair[0] in shown and pair[1] in shown]
    title = classes.capital(classes.heading(matrix))
    drawings = tuple(_draw(report, shown, cells, f"{title}: {note}", width, low=low) for width in widths)
    return HeatMap(title, note, drawings)


def _shown(found: Sequence[tuple[int, int, float]], total: int) -> list[int]:
    """The classes that are drawn: all, or those of the most suspicious pairs, in their order."""
    if total <= MOST:
        return list(range(total))
    chosen: dict[int, None] = {}
    for source, target, _ in found:
        chosen |= {target: None, source: None}
        if len(chosen) >= MOST:
            break
    return sorted(list(chosen)[:MOST])


def _draw(
    report: Report,
    shown: Sequence[int],
    cells: Sequence[tuple[tuple[int, int, float], str]],
    label: str,
    width: int,
    *,
    low: bool,
) -> Markup:
    narrow = width < 500
    names = [caption(report, one, 7 if narrow else 20) for one in shown]
    left, top = name_width(names), 24
    side = min((width - left - 4) / len(shown), 36)
    values = [value for (_, _, value), _ in cells]
    pale, dark = (max(values), min(values)) if low else (min(values), max(values))
    column = {one: left + side * place for place, one in enumerate(shown)}
    row = {one: top + side * place for place, one in enumerate(shown)}
    parts: list[Markup] = []
    for (source, target, value), told in cells:
        share = (value - pale) / ((dark - pale) or 1.0)
        mark = element(
            "rect",
            [element("title", f"{source} to {target}: {told}")],
            x=column[target],
            y=row[source],
            width=side - 1,
            height=side - 1,
            class_="heat target" if target in report.targets else "heat",
            fill_opacity=f"{0.06 + 0.94 * share:.2f}",
        )
        parts.append(mark)
    if side >= 11:  # else names would overlap; the marks tell theirs
        parts += [
            text(left - 10, row[one] + side / 2 + 4, name, _style(report, one), "end")
            for one, name in zip(shown, names, strict=True)
        ]
    parts += [
        text(column[one] + side / 2, top - 7, str(one), _style(report, one), "middle")
        for one in shown[:: max(1, round(26 / side))]
    ]
    bottom = top + side * len(shown)
    parts.append(text(left, bottom + 18, f"pale {number(pale)}, dark {number(dark)}", "tick"))
    return plot(width, bottom + 26, label, parts)


def _style(report: Report, label: int) -> str:
    return "label target" if label in report.targets else "label muted"
