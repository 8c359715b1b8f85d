"""One store of results, shared by evaluations, benchmarks and whatever else takes long: one SQLite file.

A result is found by what it depends on (`Key`): the model's digest, the samples', the method with
its declared version, its settings without defaults, level and seed. Several processes may write at
once, and one that is killed loses what it was writing and nothing else (`results.database`).

The file may be anybody's. What is read from it is text and bytes of limited size: whoever asks
checks what they say, by `Report.from_json` or the like.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mmbd.base import reading
from mmbd.base.environment import environment
from mmbd.base.errors import Failed
from mmbd.results.database import Damaged, inode, keep_aside, require_regular, transaction

NAME = "results.sqlite"  # what the file is called in a folder of results
MOST_BYTES = 255 << 20  # of one result with its artifacts
TABLE = (
    "CREATE TABLE results (model TEXT, samples TEXT, method TEXT, version INTEGER, settings TEXT, "
    "level REAL, seed TEXT, value TEXT, artifacts BLOB, written TEXT, environment TEXT, "
    "PRIMARY KEY (model, samples, method, version, settings, level, seed)) WITHOUT ROWID"
)
KINDS = (str, str, str, int, str, float, str, str, bytes | None, str, str)  # of the columns, in order
FIND = (
    "SELECT * FROM results WHERE model = ? AND samples = ? AND method = ? AND version = ? AND settings = ? "
    "AND level = ? AND seed = ?"
)
PUT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Key:
    """What a result depends on.

    Args:
        model: the model's digest (`identity.fingerprint`).
        samples: the clean samples' digest (`identity.samples`); "" where none are used.
        method: the name of the detector, mitigator or measurement.
        version: the one that the method declares: another version, another result.
        settings: those that are no defaults, as canonical JSON (`identity.settings`).
        level: the false-positive rate asked for; 0 for methods without one.
        seed: of the method's random choices.
    """

    model: str
    samples: str
    method: str
    version: int
    settings: str = "{}"
    level: float = 0.0
    seed: int = 0

    @property
    def row(self) -> tuple[Any, ...]:
        """The columns of the primary key; the seed as text, as SQLite's numbers end at 64 bits."""
        return (*astuple(self)[:5], float(self.level), str(self.seed))


@dataclass(frozen=True)
class Stored:
    """A result as it was kept.

    Args:
        value: JSON text, such as a report's.
        artifacts: its tensors, as the bytes of a safetensors file.
        written: when, in UTC (ISO 8601).
        environment: the versions and the machine it was made with, as JSON text.
    """

    value: str
    artifacts: bytes | None
    written: str
    environment: str


class Store:
    """Results in one SQLite file, by what they depend on.

    It holds no open file: it needs no closing and can be sent to other processes.

    Args:
        path: the file; made by the first `put`.

    Raises:
        Failed: a link, a folder, a FIFO or a device has the file's name.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        require_regular(self.path)

    def get(self, key: Key) -> Stored | None:
        """The result; None where there is none, or none that can be read, so that it is made again."""
        with suppress(OSError, sqlite3.Error, ValueError, Damaged):
            return self._read(lambda connection: _stored(connection, key))
        return None

    def put(self, key: Key, value: str, artifacts: bytes | None = None) -> str | None:
        """Keep a result, in place of the one with the same key.

        A damaged file is kept aside and a new one begun with what can still be read of it. A full
        disk or a read-only folder costs the stored result alone: nothing is raised.

        Returns:
            What went wrong or had to be done, for the user; None usually.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        size = len(value) + len(artifacts or b"")
        try:
            if size > MOST_BYTES:
                raise Failed(f"it has {size:,} bytes, expected at most {MOST_BYTES:,}")
            row = (*key.row, value, artifacts, now, json.dumps(environment()))
            return self._write_or_rebuild([row])
        except Damaged as error:
            why = f"the file was damaged again: {error}"
        except (OSError, sqlite3.Error, ValueError) as error:  # ValueError: no text that SQLite can hold
            why = str(error)
        return f"the result could not be kept in {reading.named(self.path)}: {why}"

    def keys(self) -> list[Key]:
        """The keys of all results, sorted.

        Raises:
            Failed: the file is damaged or cannot be read.
        """
        try:
            return self._read(_keys) or []
        except (OSError, sqlite3.Error, Damaged) as error:
            raise Failed(f"{reading.named(self.path)}: the stored results cannot be read: {error}") from error

    def items(self) -> Iterator[tuple[Key, Stored]]:
        """All results with their keys, one read at a time; raises as `keys`."""
        for key in self.keys():
            stored = self.get(key)
            if stored is not None:
                yield key, stored

    def repair(self) -> str | None:
        """Keep a damaged file aside now, as `put` would; returns what was done, or None."""
        try:
            self._read(lambda connection: None)
        except Damaged:
            return self._write_or_rebuild([])
        except (OSError, sqlite3.Error):  # nothing to read now; `put` will say what is the matter
            return None
        return None

    def _read(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """An answer from the table; None where there is no file or no table yet."""
        if not os.path.lexists(self.path):
            return None
        with transaction(self.path, TABLE, "BEGIN") as (connection, begun):
            return question(connection) if begun else None

    def _write_or_rebuild(self, rows: Iterable[tuple[Any, ...]]) -> str | None:
        """Write; returns what had to be done before. Raises Damaged where that did not help."""
        said = None
        while True:  # until nobody has replaced the file in the meantime
            require_regular(self.path)
            self.path.touch()
            seen = inode(self.path)
            try:
                if self._write(rows, seen):
                    return said
            except Damaged as error:
                if said is not None:
                    raise
                aside = keep_aside(self.path, seen)
                said = None if aside is None else self._take_over(aside, str(error))

    def _write(self, rows: Iterable[tuple[Any, ...]], seen: tuple[int, int] | None) -> bool:
        """Whether the rows are in the file that was `seen` under our name."""
        with transaction(self.path, TABLE, "BEGIN IMMEDIATE") as (connection, begun):
            # Nobody moves a file that is locked. One that was moved before is no longer the store,
            # and its journal would be taken for the journal of the file that is.
            if inode(self.path) != seen:
                return False
            if not begun:
                connection.execute(TABLE)
            connection.executemany(PUT, rows)
            connection.execute("COMMIT")
        return True

    def _take_over(self, aside: Path, why: str) -> str:
        """Write what can be read of the damaged file into a new one; returns what was done."""
        kept = 0
        for row in _readable(aside):
            self.path.touch()
            kept += self._write([row], inode(self.path))
        return (
            f"{reading.named(self.path)} was damaged ({why}) and is kept as {reading.named(aside.name)}; "
            f"results taken over from it: {kept}"
        )


def _stored(connection: sqlite3.Connection, key: Key) -> Stored | None:
    row = connection.execute(FIND, key.row).fetchone()
    return Stored(*row[7:]) if row is not None and _sound(row) else None


def _keys(connection: sqlite3.Connection) -> list[Key]:
    rows = connection.execute("SELECT model, samples, method, version, settings, level, seed FROM results")
    found = [row for row in rows if _sound(row) and row[6].lstrip("-").isdecimal() and len(row[6]) < 1000]
    return [Key(*row[:6], seed=int(row[6])) for row in found]


def _readable(aside: Path) -> Iterator[tuple[Any, ...]]:
    """The rows of a damaged store, from both ends up to the damage."""
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error, OSError, Failed, Damaged):
            with transaction(aside, TABLE, "BEGIN") as (connection, begun):
                if begun:
                    rows = connection.execute(f"SELECT * FROM results ORDER BY model {order}")  # noqa: S608
                    yield from filter(_sound, rows)
            return


def _sound(row: tuple[Any, ...]) -> bool:
    """Whether every column is of its own kind, which SQLite itself does not insist on."""
    return all(isinstance(value, kind) for value, kind in zip(row, KINDS, strict=False))
