"""Digests of models and data: a file's own, and for what is read from several files, that of all of them.

Which files a model is read from follows from what it is. A folder is all that lies directly in it, and so is
a JSON file that names others (`config.json`, an index of shards). An ONNX graph is itself, and the files
beside it whose names stand in it. Data are everything below a folder.

A file's digest is remembered by where it is (device, inode), its size and the times of its last changes, of
which the system sets one whatever a user does (`ctime`). That is safe only for files that were at rest: one
that changed less than `RECENT` seconds before it was read may change again within the same tick of its clock,
so it is read again next time. A clock that jumps leads to no more than that, either.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.results.store import Key, Store

METHOD, VERSION = "fleet digest", 1
RECENT = 3.0  # seconds: some file systems know times to two
HEAD = 64 << 10
NAMES_OTHERS = (".onnx",)
MOST = 1_000_000  # files of data


class Digests:
    """Digests of files, remembered from run to run.

    Args:
        store: where they are remembered; None for nowhere.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._new: dict[str, str] = {}
        self._known: dict[str, str] = {}
        if store is not None:
            self._known = {key.settings: value for key, value in store.values(METHOD, VERSION)}

    def model(self, path: Path) -> str:
        """The digest of a model, as it is now: a file's own SHA-256, or one over all of its files.

        Raises:
            Failed, OSError: it is not there, or cannot be read.
        """
        if path.is_dir():
            return self._of(path, _inside(path))
        if path.name.lower().endswith(".json"):
            return self._of(path.parent, _inside(path.parent), only=path.name)
        own = self.file(path)
        if not path.name.lower().endswith(NAMES_OTHERS):
            return own
        with reading.opened(path) as file:
            content = file.read()
        others = [each for each in _inside(path.parent) if os.fsencode(each.name) in content]
        return self._of(path.parent, [path, *others]) if others else own

    def data(self, path: Path) -> str:
        """The digest of data: a file's, or one over everything below a folder; raises as `model`."""
        return self._of(path, _below(path)) if path.is_dir() else self.file(path)

    def file(self, path: Path) -> str:
        """The SHA-256 of a regular file; raises as `model`."""
        known = _facts(path.stat())
        if (found := self._known.get(known)) is not None:
            return found
        began = time.time()
        with reading.opened(path) as file:
            before = os.fstat(file.fileno())
            whole: Any = file
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        at_rest = max(before.st_mtime, before.st_ctime) < began - RECENT
        if at_rest and known == _facts(before) == _facts(after):
            self._known[known] = self._new[known] = digest
        return digest

    def remember(self) -> None:
        """Keep what is new; that this cannot be done costs time, and nothing else."""
        if self._store is not None and self._new:
            rows = [
                (Key("", "", METHOD, VERSION, facts), digest, None) for facts, digest in self._new.items()
            ]
            self._store.put_all(rows)
            self._new = {}

    def _of(self, folder: Path, files: list[Path], only: str = "") -> str:
        parts = [[file.relative_to(folder).as_posix(), self.file(file)] for file in files]
        return hashlib.sha256(json.dumps([only, parts]).encode()).hexdigest()


def _facts(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        raise Failed(f"expected a regular file, found {reading.kind(status.st_mode)}; it was not opened")
    facts = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return json.dumps(facts)


def _inside(folder: Path) -> list[Path]:
    """The regular files directly in a folder; links are none, which no format follows."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))


def _below(folder: Path) -> list[Path]:
    """All regular files below a folder."""
    found: list[Path] = []
    for place in _folders(folder):
        found += [each for each in sorted(place.iterdir()) if each.is_file()]
        if len(found) > MOST:
            raise Failed(f"{reading.named(folder)}: more than {MOST:,} files")
    return found


def _folders(folder: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """A folder and all below it, links too, but for those that lead back up."""
    place = folder.resolve()
    if place in seen:
        return
    yield folder
    for each in sorted(folder.iterdir()):
        if each.is_dir():
            yield from _folders(each, seen | {place})
