"""From a path to the bytes of one regular file, opened once and read once.

What is hashed is what is parsed: the whole file is read into memory through one descriptor, and
nothing looks at the path again, so that swapping the file in between changes nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mmbd.base import reading
from mmbd.base.errors import Failed
from mmbd.formats import folders, tensor_file
from mmbd.formats.advice import NO_MEMORY, broken
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.identify import identify, mismatch
from mmbd.formats.options import MAX_BYTES
from mmbd.formats.pickles import opcodes as pickles

HEAD_BYTES = 1 << 20
LARGE = 64 << 20

CHANGED = "the file changed while it was being read: scan it again when nothing writes to it"


@dataclass(frozen=True)
class File:
    """A file's content, digest, format and neighbours; `path` is the file inside a folder."""

    path: Path
    data: bytes | bytearray
    sha256: str
    kind: str
    notes: tuple[str, ...]
    beside: Beside = NOTHING


def read(path: str | Path, max_bytes: int = MAX_BYTES, *, alone: bool = False) -> File:
    """Read the model file at `path`, or the one file of the folder there that says most.

    With `alone`, of a folder the weights: somebody else says which network they are for.

    The first megabyte decides whether the rest is read at all. FIFOs, sockets and devices are
    never opened.

    Raises:
        Failed: nothing there, not readable, not a regular file, empty, larger than `max_bytes`,
            cut short, or a folder in which none is the one to scan.
        Refused: a format that is not weights (see `identify`).
    """
    path = Path(path)
    try:
        return _read(path, max_bytes, alone)
    except FileNotFoundError:
        raise Failed(_missing(path)) from None
    except PermissionError:
        raise Failed(
            "this user may not read the file (permission denied): make it readable, or ask its "
            "owner for a copy"
        ) from None
    except MemoryError:
        raise Failed(NO_MEMORY) from None
    except OSError as error:
        raise Failed(
            f"the file cannot be read: {error.strerror or error}; see that the path is right, or "
            "copy the file to another place"
        ) from error


def _missing(path: Path) -> str:
    if str(path) == "-":
        return "mmbd reads files and not standard input: save the model to a file first, and name that"
    return "there is no such file: see that the path is right, and that it is seen from here"


def _read(path: Path, max_bytes: int, alone: bool) -> File:
    notes: tuple[str, ...] = ()
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        path, notes = folders.weights_in(path, alone=alone)
        mode = _mode(path)
    _require_regular(mode)
    with os.fdopen(os.open(path, reading.FLAGS), "rb") as opened:
        status = os.fstat(opened.fileno())
        _require_regular(status.st_mode)
        if status.st_size == 0:  # not even read: some files of the kernel would wait for ever
            raise broken("the file is empty (0 bytes)")
        head = opened.read(HEAD_BYTES)
        kind = identify(head, status.st_size)
        if status.st_size > max_bytes:
            raise Failed(
                f"the file has {status.st_size:,} bytes, the limit is {max_bytes:,}: if it really "
                "is a classifier, allow for more with --max-bytes (in Python, max_bytes=)"
            )
        opened.seek(0)
        if kind == "safetensors":
            data = _tensor_file(opened, status.st_size)
        else:
            # A pickle that torch did not write is read as far as is needed to say what it names.
            wanted = min(status.st_size, pickles.MAX_BYTES) if kind == "pickle" else status.st_size
            data = _exactly(opened.read(wanted), wanted)
    if not data.startswith(head):
        raise Failed(CHANGED)
    notes += mismatch(path.name, kind)
    beside = Beside(path.parent, max_bytes)
    return File(path, data, hashlib.sha256(data).hexdigest(), kind, notes, beside)


def _tensor_file(opened: io.BufferedReader, size: int) -> bytearray:
    """A whole safetensors file; a large one's header is held against its size before the rest.

    In memory that can be written to, so that its tensors need no copy of their own.
    """
    header = b""
    if size > LARGE:
        length = tensor_file.header_bytes(opened.read(8), size)
        opened.seek(0)
        header = _exactly(opened.read(length), length)
        tensor_file.read_header(header, size)
        opened.seek(0)
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size and (more := opened.readinto(view[filled:])):
        filled += more
    view.release()
    if filled != size or not data.startswith(header):
        raise Failed(CHANGED)
    return data


def _exactly(data: bytes, wanted: int) -> bytes:
    if len(data) != wanted:
        raise Failed(CHANGED)
    return data


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except ValueError as error:  # a NUL byte or a lone surrogate inside
        raise Failed(f"not a usable path: {error}") from None


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    raise Failed(
        f"expected a regular file, found {reading.kind(mode)}; it was not opened: save what it "
        "gives to a file first, and name that"
    )
