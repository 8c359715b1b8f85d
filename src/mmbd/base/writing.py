"""Files that are written whole or not at all, and that replace nothing unless told to.

What is half written has a name that says who writes it, `.NAME.PLACE.PID.RANDOM.partial`, so that
what a killed process left behind can be told from what is being written, and removed. It is always
a new file: in a folder that others can write to, nothing that they put there is written through.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import BinaryIO

LONGEST = 255  # bytes of a file's name
# What this process is writing: a dead one may have had the same number.
_open: list[str] = []


@contextmanager
def whole(path: str | Path, *, force: bool = False) -> Generator[BinaryIO]:
    """Inside this context write to the file it gives; it becomes `path` if nothing is raised.

    The file's `name` is where it lies meanwhile. A link at `path` is replaced, not followed.

    Raises:
        FileExistsError: at once, where `path` exists and `force` is not given, or where it is no
            regular file.
        OSError: the folder or the disk does not take it.
    """
    path = Path(path)
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path} exists already and was left alone: give force to replace it")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is no regular file and was left alone")
    partial = path.with_name(_partial_name(path.name))
    _open.append(partial.name)
    try:
        _clear_once(partial.parent.absolute(), os.getpid())
        # Exclusively: whatever lies there, a link too, is an error. The mode is the umask's.
        with partial.open("xb") as file:
            try:
                yield file
                file.close()  # which may be when the disk turns out to be full
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    finally:
        _open.remove(partial.name)


def _partial_name(name: str) -> str:
    """What a file is called until it is whole, cut to what file systems take."""
    end = f".{machine()}.{os.getpid()}.{secrets.token_hex(8)}.partial"
    known = os.fsencode(name)[: LONGEST - 1 - len(end)].decode("utf-8", "ignore")
    return f".{known or 'file'}{end}"


def clear(folder: str | Path) -> None:
    """Remove what processes that have died left half written in `folder`.

    `whole` does so too, once a process and folder. Kept is what may be somebody's: files of other
    users, of other machines and containers (whose process numbers mean nothing here), and those
    whose number a live process has, be it another one by now.
    """
    if os.name != "posix":  # elsewhere, asking whether a process lives may end it
        return
    ours = re.compile(
        rf"\..+\.{machine()}\.([1-9][0-9]{{0,8}})(?:\.[0-9a-f]{{16}})?\.partial", re.DOTALL
    )  # without a random part by releases up to 0.1.0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = ours.fullmatch(entry.name)
            if found is None:
                continue
            with suppress(OSError):  # gone meanwhile, or not to be removed by us
                about = entry.stat(follow_symlinks=False)
                own = stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid()
                if own and not _being_written(entry.name, int(found[1])):
                    Path(entry.path).unlink()


@lru_cache(64)
def _clear_once(folder: Path, _process: int) -> None:
    clear(folder)


def _being_written(name: str, process: int) -> bool:
    """Whether the process of this number may be writing a file of this name."""
    if process == os.getpid():
        return name in _open
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and is not ours
        return True
    return True


@cache
def machine() -> str:
    """Short for where this process's number means something: the machine, and the container."""
    try:
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        container = ""
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all; lone surrogates as escapes."""
    with whole(path, force=True) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
