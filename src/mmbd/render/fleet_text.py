"""The rows of a fleet as lines for a terminal: one as it comes, and a table of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mmbd.base.text import clean_text, count, listed, probability, seconds
from mmbd.results.fleet import Row

HEADINGS = ("verdict", "model", "p-value", "targets", "detector", "version", "seconds", "reason")
ORDER = ("backdoored", "failed", "refused", "not evaluable", "clean")  # what is to be seen first
SPARKS = "▁▂▃▄▅▆▇█"


def line(row: Row) -> str:
    """A row in one line: the verdict, the model, and what it rests on."""
    said = [] if row.p_value is None else [f"p = {probability(row.p_value)}"]
    if row.targets:
        said.append(f"target {listed(row.targets, 3)}")
    if row.reason:
        said.append(clean_text(row.reason, 300))
    return f"{row.word}: {clean_text(row.name, 300)}: {', '.join(said) or 'no statistics'}"


def table(rows: Sequence[Row], versions: Counter[str]) -> list[str]:
    """A heading and a line a row, with the columns one below the other.

    Args:
        rows: the latest of every model.
        versions: how many different files there were of each.
    """
    cells = [HEADINGS, *(_cells(row, versions[row.name]) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """What is to be seen first first: backdoored models, the most certain of them before the others."""
    return sorted(
        rows, key=lambda row: (ORDER.index(row.word), 2.0 if row.p_value is None else row.p_value, row.name)
    )


def totals(rows: Iterable[Row]) -> str:
    """How many models there are of each verdict."""
    found = Counter(row.word for row in rows)
    told = ", ".join(f"{count(found[word])} {word}" for word in ORDER if found[word])
    return f"{count(found.total())} model{'' if found.total() == 1 else 's'}" + (f": {told}" if told else "")


def _cells(row: Row, versions: int) -> tuple[str, ...]:
    return (
        row.word,
        clean_text(row.name, 60),
        probability(row.p_value),
        listed(row.targets, 3, 30) or "-",
        clean_text(row.detector, 20),
        str(versions),
        seconds(row.seconds),
        clean_text(row.reason or "", 100),
    )
