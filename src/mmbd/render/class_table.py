"""The table of classes for a terminal: a line a class, as many columns as fit, and a bar."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from mmbd.base.text import clean_text
from mmbd.render import classes
from mmbd.results.finding import Column
from mmbd.results.report import Report

BAR, SHORTEST_BAR = 24, 8
NAMES = (28, 16)  # how long class names may be; and where there is little room
FURTHER = 3  # columns beside the first
NARROWEST = 9  # of a column


@dataclass(frozen=True)
class _Column:
    """A column in print: its heading's lines, and the numbers of the classes shown."""

    heading: list[str]
    texts: list[str]

    @property
    def width(self) -> int:
        return max(NARROWEST, *map(cell_len, [*self.heading, *self.texts]))


@dataclass(frozen=True)
class ClassTable:
    """Lines above the classes, a line a class, and the columns that there is no room for."""

    head: list[str]
    rows: list[str]
    left_out: list[str]


def class_table(report: Report, shown: Sequence[int], room: int | None, block: str) -> ClassTable:
    """The table of these classes, which have at least one column.

    Args:
        report: what it is about.
        shown: the classes, in their order.
        room: the width of the terminal; None for lines of any length.
        block: what bars are made of.
    """
    given = report.finding.columns[: FURTHER + 1]
    columns = [_printed(column, shown, alone=len(given) == 1) for column in given]
    kept, names, bar = _fit(report, shown, columns, room)
    left_out = [clean_text(column.name, 40) for column in report.finding.columns[kept:]]
    columns = columns[:kept]
    indent = " " * (len(">  12345") + 2 + max(map(cell_len, names)))
    lines = max(len(column.heading) for column in columns)
    head = [
        "  ".join([indent, *(_heading(column, lines)[line] for column in columns)]) for line in range(lines)
    ]
    values = classes.measured(report)
    top = max(values.values(), default=0.0)
    rows: list[str] = []
    for place, label in enumerate(shown):
        target = label in report.targets
        value = max(values.get(label, 0.0), 0.0)
        filled = block * (round(bar * value / top) if top > 0 else 0)
        texts = [column.texts[place].rjust(column.width) for column in columns]
        padded = names[place] + " " * (max(map(cell_len, names)) - cell_len(names[place]))
        tail = filled + ("  target" if target else "")
        rows.append("  ".join([">" if target else " ", f"{label:>5}", padded, *texts, tail]))
    return ClassTable(head, rows, left_out)


def _printed(column: Column, shown: Sequence[int], *, alone: bool) -> _Column:
    """A column's heading and numbers; alone, it has the table's title for a heading."""
    texts = classes.numbers(column)
    return _Column([] if alone else _wrapped(classes.heading(column, 40)), [texts[label] for label in shown])


def _fit(
    report: Report, shown: Sequence[int], columns: Sequence[_Column], room: int | None
) -> tuple[int, list[str], int]:
    """How many columns fit, the names of the classes, and the length of the longest bar."""
    kept, names, bar = len(columns), [], BAR
    for kept, limit in itertools.product(range(len(columns), 0, -1), NAMES):
        names = [classes.class_name(report, label, limit) for label in shown]
        taken = len(">  12345") + 2 + max(map(cell_len, names))
        taken += sum(column.width + 2 for column in columns[:kept]) + 2
        taken += len("  target") if report.targets else 0
        bar = BAR if room is None else min(BAR, room - taken)
        if bar >= SHORTEST_BAR:
            break
    return kept, names, max(bar, 0)


def _heading(column: _Column, lines: int) -> list[str]:
    """The heading's lines at the bottom of so many."""
    padded = [""] * (lines - len(column.heading)) + column.heading
    return [line.rjust(column.width) for line in padded]


def _wrapped(heading: str) -> list[str]:
    """A heading in lines no longer than they must be: it breaks at spaces and after hyphens."""
    pieces: list[str] = re.findall(r"[^\s-]+-?|-", heading)
    width = max([NARROWEST, *map(cell_len, pieces)])
    lines: list[str] = []
    for piece in pieces:
        joined = lines[-1] + ("" if lines[-1].endswith("-") else " ") + piece if lines else piece
        if lines and cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(piece)
    return lines
