"""The numbers by class as renderers show them: in which order, with how many decimals, by which names.

Everything in print is clean text (see `text.clean_text`), ready to be escaped for a format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from mmbd.base.text import clean_text, number, probability
from mmbd.results.finding import Column, Direction, Matrix
from mmbd.results.report import Report

FIRST: dict[Direction, str] = {
    "high": "largest first",
    "low": "smallest first: low values are suspicious",
    "": "most suspicious first",
}


def statistic(report: Report) -> Column:
    """The first column; one without numbers where there is none."""
    columns = report.finding.columns
    return columns[0] if columns else Column("statistic", (None,) * len(report.class_names))


def ranking(report: Report) -> list[int]:
    """The classes as the detector ranks them, and after them others with a statistic."""
    column = statistic(report)
    ranked = list(report.finding.ranking)
    known = {label: value for label, value in enumerate(column.values) if is_number(value)}
    sign = 1 if column.suspicious == "low" else -1
    return ranked + sorted(known.keys() - set(ranked), key=lambda label: (sign * known[label], label))


def measured(report: Report) -> dict[int, float]:
    """The statistics that can be drawn, by class, in the order of the ranking."""
    values = statistic(report).values
    return {label: value for label in ranking(report) if is_number(value := values[label])}


def ranked_by(report: Report) -> str:
    """What the order of the classes goes by."""
    by, first = report.finding.ranked_by, statistic(report)
    if by is not None and by != first.name:
        return f"in the order of what decides ({clean_text(by, 60)})"
    return FIRST[first.suspicious]


def ratio(report: Report) -> float | None:
    """The largest over the second largest statistic, where large ones are suspicious and both positive."""
    column = statistic(report)
    ordered = sorted((value for value in column.values if is_number(value)), reverse=True)[:2]
    if column.suspicious != "high" or len(ordered) < 2 or ordered[1] <= 0:
        return None
    return ordered[0] / ordered[1]


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a value that can be shown: finite, and not absurdly large."""
    return value is not None and abs(value) < 1e90


def numbers(column: Column) -> list[str]:
    """Every class's number in print, all with as many decimals; "-" where there is none."""
    if column.name.endswith("p-value"):
        return [probability(value) for value in column.values]
    return alike(column.values)


def alike(values: Sequence[float | None]) -> list[str]:
    """Numbers of one kind in print, all with as many decimals; "-" where there is none."""
    top = max((abs(value) for value in values if is_number(value)), default=0.0)
    if not 1e-3 <= top < 1e6:
        return [number(value) for value in values]
    digits = 3 - math.floor(math.log10(top))
    return [f"{value:.{max(digits, 0)}f}" if is_number(value) else "-" for value in values]


def heading(part: Column | Matrix, limit: int = 60) -> str:
    """A column's or a matrix's name with its unit."""
    name = clean_text(part.name, limit)
    return f"{name} ({clean_text(part.unit, 20)})" if part.unit else name


def with_unit(value: str, part: Column | Matrix) -> str:
    """A number in print, and what it is in."""
    return f"{value} {clean_text(part.unit, 20)}" if part.unit else value


def capital(text: str) -> str:
    """With a capital letter at its start, and the rest as it is."""
    return text[:1].upper() + text[1:]


def pairs(matrix: Matrix, most: int | None = None) -> list[tuple[int, int, float]]:
    """(source, target, number) of the pairs of classes with a number, the most suspicious first."""
    found = [
        (source, target, value)
        for source, row in enumerate(matrix.values)
        for target, value in enumerate(row)
        if is_number(value)
    ]
    sign = 1 if matrix.suspicious == "low" else -1
    return sorted(found, key=lambda pair: (sign * pair[2], pair))[:most]


def class_name(report: Report, label: int, limit: int = 40) -> str:
    """A class's name, empty when it is just its number."""
    name = report.class_names[label]
    return "" if name == str(label) else clean_text(name, limit)


def class_label(report: Report, label: int, limit: int = 40) -> str:
    """A class for sentences: class 3 "cat", or class 3."""
    name = class_name(report, label, limit)
    return f'class {label} "{name}"' if name else f"class {label}"


def invalid(report: Report, most: int = 10) -> str:
    """A sentence on the classes without a valid statistic; empty if there are none."""
    column = statistic(report)
    labels = [label for label, value in enumerate(column.values) if not is_number(value)]
    if not labels or not report.finding.columns:
        return ""
    return f"Without a valid statistic: class{'es' if len(labels) > 1 else ''} {_some(labels, most)}."


def _some(labels: Sequence[int], most: int) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(str, labels[:most])) + more
