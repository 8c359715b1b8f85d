"""What lies in a store: keys, results, and the statements that read and write them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from mmbd.base.errors import Failed
from mmbd.results.database import Damaged, transaction

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
DROP = FIND.replace("SELECT *", "DELETE")
LIST = "SELECT model, samples, method, version, settings, level, seed, value FROM results"
PUT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


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


class Held:
    """A store that no other process writes to meanwhile; see `Store.alone`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, key: Key) -> str | None:
        """The value of a result."""
        found = stored(self._connection, key)
        return None if found is None else found.value

    def put(
        self, key: Key, value: str, artifacts: bytes | None = None, *, written: str = "", made_by: str = ""
    ) -> None:
        """Keep a result, in place of the one with the same key; the rest is as in `Stored`."""
        self._connection.execute(PUT, (*key.row, value, artifacts, written, made_by))

    def drop(self, key: Key) -> None:
        """Forget a result."""
        self._connection.execute(DROP, key.row)


def values(connection: sqlite3.Connection, method: str, version: int) -> list[tuple[Key, str]]:
    rows = connection.execute(f"{LIST} WHERE method = ? AND version = ?", (method, version))
    return [
        (Key(*row[:6], seed=int(row[6])), row[7])
        for row in rows
        if all(map(isinstance, row, KINDS)) and row[6].lstrip("-").isdecimal() and len(row[6]) < 1000
    ]


def stored(connection: sqlite3.Connection, key: Key) -> Stored | None:
    row = connection.execute(FIND, key.row).fetchone()
    return Stored(*row[7:]) if row is not None and sound(row) else None


def keys(connection: sqlite3.Connection) -> list[Key]:
    rows = connection.execute("SELECT model, samples, method, version, settings, level, seed FROM results")
    found = [row for row in rows if sound(row) and row[6].lstrip("-").isdecimal() and len(row[6]) < 1000]
    return [Key(*row[:6], seed=int(row[6])) for row in found]


def readable(aside: Path) -> Iterator[tuple[Any, ...]]:
    """The rows of a damaged store, from both ends up to the damage."""
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error, OSError, Failed, Damaged):
            with transaction(aside, TABLE, "BEGIN") as (connection, begun):
                if begun:
                    rows = connection.execute(f"SELECT * FROM results ORDER BY model {order}")  # noqa: S608
                    yield from filter(sound, rows)
            return


def sound(row: tuple[Any, ...]) -> bool:
    """Whether every column is of its own kind, which SQLite itself does not insist on."""
    return all(isinstance(value, kind) for value, kind in zip(row, KINDS, strict=False))
