"""The index of a fleet to files: a page, tables for other programs, a folder with a report of each model."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.base.writing import whole, write_text
from mmbd.render import fleet_page
from mmbd.results import artifacts
from mmbd.results.fleet import Fleet, Row, digest, page_of
from mmbd.results.store import Store

REPORTS = "reports"
PAGE = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
# What a cell begins with that spreadsheets would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "number": lambda row: row.number,
    "verdict": lambda row: row.word,
    "exit_code": lambda row: row.code,
    "p_value": lambda row: row.p_value,
    "decided_by": lambda row: row.decided_by,
    "targets": lambda row: "; ".join(row.targets),
    "detector": lambda row: row.detector,
    "level": lambda row: float(row.level),
    "seed": lambda row: str(row.seed),
    "sha256": lambda row: row.sha256,
    "settings": lambda row: row.settings,
    "file": lambda row: row.file,
    "classes": lambda row: row.classes,
    "seconds": lambda row: float(row.seconds),
    "finished": lambda row: row.finished,
    "group": lambda row: row.group,
    "labels": lambda row: json.dumps(dict(row.labels), sort_keys=True),
    "policy": lambda row: row.policy,
    "reason": lambda row: row.reason,
}


def save(store: Store, path: Path) -> None:
    """Write the index of a store, whole or not at all, in the form of the suffix.

    `.html` is a page; `.csv`, `.parquet` and `.jsonl` have a row for every scan that is kept, the latest of a
    model last.

    Raises:
        Failed: the store cannot be read.
        ImportError: Parquet without pyarrow (extra `data`).
    """
    fleet = Fleet.read(store)
    rows = (row for history in fleet.history.values() for row in history)
    suffix = path.suffix.lower()
    if suffix == ".html":
        write_text(path, fleet_page.html(fleet, str(store.path)))
    elif suffix == ".csv":
        write_text(path, comma_separated(rows))
    elif suffix == ".jsonl":
        write_text(path, "".join(f"{row.to_json()}\n" for row in rows))
    else:
        _parquet(rows, path)


def comma_separated(rows: Iterable[Row]) -> str:
    """A heading and a line a row; texts that spreadsheets would run begin with an apostrophe."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for row in rows:
        lines.writerow([_cell(column(row)) for column in COLUMNS.values()])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = clean_text(value, 1000)
    return f"'{plain}" if plain.startswith(FORMULA) else plain


def _parquet(rows: Iterable[Row], path: Path) -> None:
    from mmbd.base.extras import require

    arrow, parquet = require("pyarrow", extra="data"), require("pyarrow.parquet", extra="data")
    kinds = {"number": arrow.int64(), "exit_code": arrow.int64(), "classes": arrow.int64()}
    kinds |= dict.fromkeys(("p_value", "level", "seconds"), arrow.float64())
    wanted = arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])
    known = list(rows)
    columns = {name: [_text(column(row)) for row in known] for name, column in COLUMNS.items()}
    with whole(path, force=True) as file:
        parquet.write_table(arrow.table(columns, schema=wanted), file, compression="zstd")


def _text(value: Any) -> Any:
    """Text without lone surrogates, which names of files may have."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def site(store: Store, folder: Path) -> None:
    """Write `index.html` and, for every result that is kept, its report in `reports/`.

    A report that is there already is not drawn again: its name says which result it is of.
    """
    fleet = Fleet.read(store)
    (folder / REPORTS).mkdir(exist_ok=True)
    pages = dict(_reports(store, folder / REPORTS))
    write_text(folder / "index.html", fleet_page.html(fleet, str(store.path), pages))


def _reports(store: Store, folder: Path) -> Iterator[tuple[str, Path]]:
    """The pages of all reports, drawn where they are missing."""
    from mmbd.render import report_page
    from mmbd.results.report import Report

    known = store.keys()
    for key in known:
        page = page_of(key.model, digest(key))
        if not PAGE.fullmatch(page):  # the store may be anybody's
            continue
        file = folder / f"{page}.html"
        if file.exists():
            yield page, file
            continue
        stored = store.get(key)
        try:
            if stored is None or not stored.value.startswith("{"):
                continue
            with tempfile.TemporaryDirectory() as place:
                (beside := Path(place) / f"{page}.json").write_text(stored.value, encoding="utf-8")
                if stored.artifacts is not None:
                    beside.with_name(f"{page}{artifacts.SUFFIX}").write_bytes(stored.artifacts)
                report = Report.load(beside)
        except (ValueError, Failed, OSError, RecursionError):  # something else, or a broken one
            continue
        write_text(file, report_page.html(report))
        yield page, file
