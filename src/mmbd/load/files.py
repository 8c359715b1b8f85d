"""From a path to the bytes of one regular file, opened once and read once.

What is hashed is what is parsed: the whole file is read into memory through one descriptor, and
nothing looks at the path again, so that swapping the file in between changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mmbd.errors import Failed
from mmbd.load import formats, pickles
from mmbd.load.text import listed

MAX_BYTES = 4 << 30  # far above any classifier; a memory limit, not a judgement
HEAD_BYTES = 1 << 20

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class File:
    """A file's content, its SHA-256 and its format; `path` is the file inside a folder."""

    path: Path
    data: bytes
    sha256: str
    kind: formats.Kind
    notes: tuple[str, ...]


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> File:
    """Read the model file at `path`, or the one weights file of the folder there.

    The first megabyte decides whether the rest is read at all. FIFOs, sockets and devices are
    never opened.

    Raises:
        Failed: nothing there, not readable, not a regular file, empty, larger than `max_bytes`,
            cut short, or a folder without exactly one weights file.
        Refused: a format that is not weights (see `formats.identify`).
    """
    path = Path(path)
    try:
        return _read(path, max_bytes)
    except FileNotFoundError:
        raise Failed("there is no such file") from None
    except PermissionError:
        raise Failed("this user may not read the file (permission denied)") from None
    except MemoryError:
        raise Failed("there is not enough memory to read the file") from None
    except OSError as error:
        raise Failed(f"the file cannot be read: {error.strerror or error}") from error


def _read(path: Path, max_bytes: int) -> File:
    notes: tuple[str, ...] = ()
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        path = _weights_in(path)
        notes = (f"the folder's weights file is {path.name}",)
        mode = _mode(path)
    _require_regular(mode)
    # O_NONBLOCK: should a FIFO take the file's place just now, opening it must not hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as opened:
        status = os.fstat(opened.fileno())
        _require_regular(status.st_mode)
        if status.st_size == 0:  # not even read: some files of the kernel would wait for ever
            raise Failed("the file is empty (0 bytes)")
        head = opened.read(HEAD_BYTES)
        kind = formats.identify(head, status.st_size)
        if status.st_size > max_bytes:
            raise Failed(
                f"the file has {status.st_size:,} bytes, the limit is {max_bytes:,}: "
                "raise max_bytes if it really is a classifier"
            )
        opened.seek(0)
        # Of a pickle that torch did not write, enough to say what it names.
        wanted = min(status.st_size, pickles.MAX_BYTES) if kind == "pickle" else status.st_size
        data = opened.read(wanted)
    if len(data) != wanted or not data.startswith(head):
        raise Failed("the file changed while it was being read")
    notes += formats.mismatch(path.name, kind)
    return File(path, data, hashlib.sha256(data).hexdigest(), kind, notes)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except ValueError as error:  # a NUL byte or a lone surrogate inside
        raise Failed(f"not a usable path: {error}") from None


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    found = kinds.get(stat.S_IFMT(mode), "something else")
    raise Failed(f"expected a regular file, found {found}; it was not opened")


def _weights_in(folder: Path) -> Path:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    if "saved_model.pb" in names:
        raise formats.refusal("a TensorFlow SavedModel, which is a program")
    found = [name for name in WEIGHTS if name in names]
    if len(found) == 1:
        return folder / found[0]
    expected = f"expected a folder with one of {' and '.join(WEIGHTS)}"
    if found:
        raise Failed(f"{expected}, found both: name the file to scan")
    if shards := [name for name in INDICES if name in names]:
        raise Failed(f"{expected}, found weights split over several files ({shards[0]})")
    raise Failed(f"{expected}, found {listed(names) or 'an empty folder'}: name a file instead")
