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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.results import kept
from mmbd.results.database import Damaged, inode, keep_aside, require_regular, transaction
from mmbd.results.kept import DROP, PUT, TABLE, Held, Key, Stored

NAME = "results.sqlite"  # what the file is called in a folder of results
MOST_BYTES = 255 << 20  # of one result with its artifacts
Answer = TypeVar("Answer")


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
            return self._read(lambda connection: kept.stored(connection, key))
        return None

    def put(self, key: Key, value: str, artifacts: bytes | None = None) -> str | None:
        """Keep a result, in place of the one with the same key.

        A damaged file is kept aside and a new one begun with what can still be read of it. A full
        disk or a read-only folder costs the stored result alone: nothing is raised.

        Returns:
            What went wrong or had to be done, for the user; None usually.
        """
        return self.put_all([(key, value, artifacts)])

    def put_all(
        self, results: Sequence[tuple[Key, str, bytes | None]], drop: Sequence[Key] = ()
    ) -> str | None:
        """Keep several results in one transaction, all or none, and drop those of other keys; see `put`."""
        from mmbd.base.environment import environment  # torch comes with it

        now, made_by = datetime.now(UTC).isoformat(timespec="seconds"), json.dumps(environment())
        try:
            for _, value, artifacts in results:
                if (size := len(value) + len(artifacts or b"")) > MOST_BYTES:
                    raise Failed(f"it has {size:,} bytes, expected at most {MOST_BYTES:,}")
            rows = [(*key.row, value, artifacts, now, made_by) for key, value, artifacts in results]
            return self._write_or_rebuild(rows, [key.row for key in drop])
        except Damaged as error:
            why = f"the file was damaged again: {error}"
        except (OSError, sqlite3.Error, ValueError) as error:  # ValueError: no text that SQLite can hold
            why = str(error)
        return f"the result could not be kept in {reading.named(self.path)}: {why}"

    def values(self, method: str, version: int) -> list[tuple[Key, str]]:
        """The keys and values of all results of one method, without their artifacts; raises as `keys`."""
        try:
            return self._read(lambda connection: kept.values(connection, method, version)) or []
        except (OSError, sqlite3.Error, Damaged) as error:
            raise Failed(f"{reading.named(self.path)}: the stored results cannot be read: {error}") from error

    def alone(self, act: Callable[[Held], Answer]) -> Answer:
        """Read and write while no other process does, whole or not at all.

        Args:
            act: what to do; what it raises undoes what it has done.

        Raises:
            Failed: the file is damaged, cannot be read or cannot be written.
        """
        try:
            while True:  # until nobody has replaced the file in the meantime
                self.path.touch()
                seen = inode(self.path)
                with transaction(self.path, TABLE, "BEGIN IMMEDIATE") as (connection, begun):
                    if inode(self.path) != seen:
                        continue
                    if not begun:
                        connection.execute(TABLE)
                    found = act(Held(connection))
                    connection.execute("COMMIT")
                    return found
        except (OSError, sqlite3.Error, Damaged) as error:
            raise Failed(f"{reading.named(self.path)}: the store cannot be written: {error}") from error

    def keys(self) -> list[Key]:
        """The keys of all results, sorted.

        Raises:
            Failed: the file is damaged or cannot be read.
        """
        try:
            return self._read(kept.keys) or []
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

    def _write_or_rebuild(
        self, rows: Sequence[tuple[Any, ...]], drop: Sequence[tuple[Any, ...]] = ()
    ) -> str | None:
        """Write; returns what had to be done before. Raises Damaged where that did not help."""
        said = None
        while True:  # until nobody has replaced the file in the meantime
            require_regular(self.path)
            self.path.touch()
            seen = inode(self.path)
            try:
                if self._write(rows, seen, drop):
                    return said
            except Damaged as error:
                if said is not None:
                    raise
                aside = keep_aside(self.path, seen)
                said = None if aside is None else self._take_over(aside, str(error))

    def _write(
        self,
        rows: Iterable[tuple[Any, ...]],
        seen: tuple[int, int] | None,
        drop: Iterable[tuple[Any, ...]] = (),
    ) -> bool:
        """Whether the rows are in the file that was `seen` under our name."""
        with transaction(self.path, TABLE, "BEGIN IMMEDIATE") as (connection, begun):
            # Nobody moves a file that is locked. One that was moved before is no longer the store,
            # and its journal would be taken for the journal of the file that is.
            if inode(self.path) != seen:
                return False
            if not begun:
                connection.execute(TABLE)
            connection.executemany(DROP, drop)
            connection.executemany(PUT, rows)
            connection.execute("COMMIT")
        return True

    def _take_over(self, aside: Path, why: str) -> str:
        """Write what can be read of the damaged file into a new one; returns what was done."""
        taken = 0
        for row in kept.readable(aside):
            self.path.touch()
            taken += self._write([row], inode(self.path))
        return (
            f"{reading.named(self.path)} was damaged ({why}) and is kept as {reading.named(aside.name)}; "
            f"results taken over from it: {taken}"
        )
