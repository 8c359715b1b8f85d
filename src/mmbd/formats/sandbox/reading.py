"""The contents of a file, read in a box: in a process that can do no more than answer.

Commands have one ready from their start (`stand`), before anything computes; a file is then read in it
within hundredths of a second. What comes out is checked as if a stranger had written it (`unpacking`).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.sandbox import client, locks, server
from mmbd.base.sandbox.talk import Bytes
from mmbd.base.text import clean_text, listed
from mmbd.formats import table
from mmbd.formats.beside import Beside
from mmbd.formats.files import File
from mmbd.formats.format import Contents
from mmbd.formats.sandbox import packing, unpacking

JOB = "mmbd.formats.sandbox.reading:read"
MODULES = ("mmbd.formats.loading",)  # what a server that is started anew loads
LEAST = 1 << 30  # bytes of memory that a box may take, however small the file
TIMES = 6  # as much of it as what is read
MOST_TIMES, MOST_MORE = 4, 256 << 20  # as much may come out of it, and so many bytes more
SECONDS, A_SECOND = 60.0, 5_000_000  # that it may take; and one more for so many bytes


@dataclass
class _Standing:
    """The box that a command has ready, or why it has none; and one that somebody asked for in Python."""

    box: client.Sandbox | None = None
    why_not: str = ""
    own: client.Sandbox | None = None


_NOW = _Standing()


def stand(*, forked: bool | None = None) -> None:
    """Have a box ready, in which files are read from now on; if there can be none, reports say why.

    Args:
        forked: as for `Sandbox`; True where the other threads of this process are known to wait.
    """
    if ready():
        return
    for module in MODULES:
        importlib.import_module(module)
    try:
        _NOW.box, _NOW.why_not = client.Sandbox(MODULES, forked=forked), ""
    except (Failed, OSError) as error:
        _NOW.box, _NOW.why_not = None, str(error)


def leave() -> None:
    """The end of what `stand` began."""
    found, _NOW.box, _NOW.why_not = ready(), None, ""
    if found is not None:
        found.close()


def ready() -> client.Sandbox | None:
    """The box that this process has ready."""
    return _NOW.box if _mine(_NOW.box) else None


def _mine(found: client.Sandbox | None) -> bool:
    """Whether there is a box, and this process has started it."""
    return found is not None and found.owner == os.getpid()


def contents(file: File, sandbox: bool | None) -> Contents:
    """What a file holds, as `table.contents` says it, with notes on how it was read.

    Args:
        file: whole, as `files.read` gives it.
        sandbox: True for a box, also where that takes seconds to start; None for one if there is one ready;
            False for none.

    Raises:
        Refused, Failed: as `table.contents` does, or for the box's reasons; `sandbox`, and no box to be had.
    """
    known = ready()
    if sandbox is False or (sandbox is None and known is None):
        found = table.contents(file.data, file.kind, file.beside)
        if sandbox is False or not _NOW.why_not:
            return found
        return replace(
            found, notes=(*found.notes, f"read without a sandbox: {clean_text(_NOW.why_not, 200)}")
        )
    if known is not None:
        return _in(known, file)
    try:
        return _in(_started(), file)
    except client.Gone:
        return _in(_started(anew=True), file)


def _started(*, anew: bool = False) -> client.Sandbox:
    """A box that stays for as long as this process does; Failed where there can be none."""
    if anew or _NOW.own is None or not _mine(_NOW.own):
        _NOW.own = client.Sandbox(MODULES)
    return _NOW.own


def _in(one: client.Sandbox, file: File) -> Contents:
    size = len(file.data) + _beside(file)
    answer = one.do(
        JOB,
        {"kind": file.kind, "writable": isinstance(file.data, bytearray)},
        [file.data],
        limits=locks.Limits(LEAST + TIMES * size, SECONDS + size / A_SECOND),
        most=MOST_TIMES * size + MOST_MORE,
        grant=file.beside.read,
    )
    found = unpacking.unpacked(answer.result, file.data)
    lacking = _unguarded(answer.missing)
    if not lacking:
        return found
    return replace(found, notes=(*found.notes, f"read in a sandbox without {listed(lacking)}"))


def _unguarded(missing: Sequence[str]) -> list[str]:
    """The missing locks that no other makes up for: with seccomp, only files need landlock."""
    return [each for each in missing if "seccomp" in missing or each == "landlock"]


def _beside(file: File) -> int:
    """How many bytes a format that names other files may find beside this one, at most."""
    folder, row = file.beside.folder, table.FORMATS.get(file.kind)
    if folder is None or row is None or not row.neighbours:
        return 0
    try:
        with os.scandir(folder) as entries:
            sizes = [each.stat(follow_symlinks=False).st_size for each in entries if each.is_file()]
    except OSError:
        return 0
    return min(sum(sizes), file.beside.max_bytes)


def read(inside: server.Inside, request: dict[str, Any]) -> Sequence[Bytes]:
    """The job: it runs in a box, and gets the file's bytes first."""
    data = inside.given() if request["writable"] else inside.given_bytes()
    found = table.contents(data, request["kind"], _Elsewhere(inside))
    return packing.packed(found, data)


class _Elsewhere(Beside):
    """The files beside the model's, which the parent opens: a box cannot."""

    def __init__(self, inside: server.Inside) -> None:
        super().__init__()
        object.__setattr__(self, "_inside", inside)

    def _content(self, name: str) -> bytes:
        try:
            words = name.encode("utf-8")
        except UnicodeEncodeError:
            words = b""
        inside: server.Inside = getattr(self, "_inside")  # noqa: B009 - the class it comes from is frozen
        return bytes(inside.wish(words[: client.MOST_WISH]))
