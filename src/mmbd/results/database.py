"""An SQLite file that several processes may use at once and that may be anybody's.

Every transaction opens the file and closes it again, so that nothing is held while methods compute,
and a process that is killed loses what it was writing and nothing else. A rollback journal and no
write-ahead log, which needs shared memory, and a writable folder even to read.

The file is used only where it holds the one table that is asked for, word for word, with no
trigger, view or index beside it, so that nothing in it is ever run.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed

MOST_BYTES = 256 << 20  # of a row
PATIENCE = 60.0  # seconds that a transaction waits for other processes
SIDES = ("-journal", "-wal", "-shm")  # what SQLite may keep beside a file, by the ends of the names
# A journal that ends in these bytes names another file, which SQLite would remove after a rollback.
NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
# What SQLite reports where the disk, the folder or another process is in the way, not the content.
CIRCUMSTANCES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


class Damaged(Exception):
    """The file does not hold what it should, or does not any more."""


@contextmanager
def transaction(path: Path, table: str, begin: str) -> Generator[tuple[sqlite3.Connection, bool]]:
    """A transaction, rolled back unless committed inside.

    Args:
        path: the file, which must be there; it may be empty.
        table: the statement that creates the only table it may hold.
        begin: "BEGIN" to read, "BEGIN IMMEDIATE" to write.

    Yields:
        The connection, and whether the table is there already.

    Raises:
        Damaged: the content is something else.
        Failed, OSError, sqlite3.Error: the file cannot be used as things are.
    """
    require_regular(path)
    name = table.split()[2]
    try:
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(begin)
            schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchmany(2)
            if schema and schema != [("table", name, name, table)]:
                raise Damaged(f"it holds something else than the table {name}")
            yield connection, bool(schema)
    except sqlite3.Error as error:
        if about_content(error):
            raise Damaged(str(error)) from error
        raise


def require_regular(path: Path) -> None:
    """Failed where anything but a regular file lies here, or where SQLite keeps its journals."""
    for end in ("", *SIDES):
        side = path.with_name(path.name + end)
        try:
            mode = side.lstat().st_mode
        except FileNotFoundError:
            continue
        found = "a link" if stat.S_ISLNK(mode) else None if stat.S_ISREG(mode) else reading.kind(mode)
        if found is None and end == "-journal" and _names_another(side):
            found = "a journal that names another file"
        if found is not None:
            raise Failed(
                f"{reading.named(side)}: expected a file of stored results, found {found}; it was left "
                "alone: move it away or name another folder"
            )


def _names_another(journal: Path) -> bool:
    with suppress(FileNotFoundError), reading.opened(journal) as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - len(NAMES_ANOTHER)))
        return file.read() == NAMES_ANOTHER
    return False


def connect(path: Path) -> sqlite3.Connection:
    """A connection that trusts the file with nothing; the file must be there."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")  # never an error halfway
    connection.execute("PRAGMA trusted_schema = OFF")  # neither of the two reads the file yet
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def about_content(error: sqlite3.Error) -> bool:
    """Whether the file's content is at fault, and not what surrounds it."""
    code = getattr(error, "sqlite_errorcode", None)
    short = code == sqlite3.SQLITE_IOERR_SHORT_READ
    return code is not None and (short or code & 0xFF not in CIRCUMSTANCES)


def inode(path: Path) -> tuple[int, int] | None:
    """Which file has this name now; None for none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def keep_aside(path: Path, seen: tuple[int, int] | None) -> Path | None:
    """Rename a damaged file, journals and all, to NAME.damaged-N, while nobody can be writing to it.

    Returns:
        The new name; None where the file that was `seen` is gone from `path` already.
    """
    with _alone(path.parent):
        if inode(path) != seen:  # another process was faster
            return None
        number = 1
        while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
            number += 1
        with closing(connect(path)) as connection:
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:  # nobody can write to what is no database at all
                if not about_content(error):
                    raise
            for end in (*SIDES, ""):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + end).rename(f"{aside}{end}")
        return aside


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One process at a time is inside for a folder; a process that dies leaves by that."""
    if os.name != "posix":  # where a file in use cannot be renamed at all
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
