"""Zoos written down as a table: a CSV file with the columns path, label and target."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.formats.options import LoadOptions
from mmbd.zoo.entry import Entry, Zoo
from mmbd.zoo.foreign import collect, is_number, label_of, open_model


def recognise(path: Path) -> bool:
    """Whether it is a file that is named .csv."""
    return path.is_file() and path.suffix.lower() == ".csv"


def read(path: Path, options: LoadOptions) -> Zoo:
    """Read a CSV file with the columns path, label and target, one model a row.

    `label` is clean or backdoored (or 0 and 1); `target` is a class, several with blanks between
    them, or empty. The columns name, attack, group and seed (of the training) may follow. Relative
    paths begin at the table's folder; `options` hold for every row.

    Raises:
        Failed: the file cannot be read, or lacks one of the three columns.
    """
    try:
        rows = list(csv.DictReader(reading.text(path, encoding="utf-8-sig").splitlines()))
    except (OSError, Failed, csv.Error) as error:
        raise Failed(f"{reading.named(path)}: the table cannot be read: {error}") from error
    columns = list(rows[0]) if rows else []
    missing = [name for name in ("path", "label", "target") if name not in columns]
    if missing:
        raise Failed(
            f"{reading.named(path)}: no column {missing[0]!r}; expected path,label,target and then rows"
        )
    named: dict[str, partial[Entry]] = {}
    for line, row in enumerate(rows, start=2):
        name = row.get("name") or row["path"] or f"line {line}"
        while name in named:
            name = f"{name} (line {line})"
        named[name] = partial(_row, row, name, line, path.parent, options)
    return collect(named.items())


def _row(row: Mapping[str, str | None], name: str, line: int, folder: Path, options: LoadOptions) -> Entry:
    if not row["path"] or row["label"] is None:
        raise Failed(f"line {line}: expected path,label,target")
    file = folder / row["path"]
    try:
        label = label_of(row["label"])
    except Failed as error:
        raise Failed(f"line {line}: {error}") from error
    words = (row["target"] or "").split()
    if not all(map(is_number, words)):
        raise Failed(f"line {line}: target {row['target']!r:.40}: expected numbers of classes")
    if words and label == "clean":
        raise Failed(f"line {line}: a clean model with a target")
    if not file.exists():
        raise Failed(f"line {line}: there is no file {clean_text(str(file), 200)}")
    attack = row.get("attack") or ("clean" if label == "clean" else "unknown")
    seed, targets = (row.get("seed") or "").strip(), tuple(map(int, words))
    if seed and not is_number(seed):
        raise Failed(f"line {line}: seed {seed!r:.40}: expected a whole number from 0")
    return Entry(
        name,
        label,
        partial(open_model, file, options, targets),
        attack=attack,
        targets=targets,
        group=row.get("group") or "",
        seed=int(seed) if seed else None,
    )
