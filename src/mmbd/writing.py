"""Files that are written whole or not at all, and that replace nothing unless told to.

What is half written has a name that says who writes it, `.NAME.PLACE.PID.partial`, so that what a
killed process left behind can be told from what is being written, and removed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path

# What this process is writing: a dead one may have had the same number.
_open: list[str] = []


@contextmanager
def whole(path: str | Path, *, force: bool = False) -> Generator[Path]:
    """Inside this context write to the path it gives; it becomes `path` if nothing is raised.

    Raises:
        FileExistsError: at once, where `path` exists and `force` is not given.
    """
    path = Path(path)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already and was left alone: give force to replace it")
    partial = path.with_name(f".{path.name}.{_place()}.{os.getpid()}.partial")
    _open.append(partial.name)
    try:
        _clear_once(partial.parent.absolute(), os.getpid())
        yield partial
        partial.chmod(0o666 & ~_umask())  # some libraries write for the owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        _open.remove(partial.name)


def clear(folder: str | Path) -> None:
    """Remove what processes that have died left half written in `folder`.

    `whole` does so too, once a process and folder. Kept is what may be somebody's: files of other
    users, of other machines and containers (whose process numbers mean nothing here), and those
    whose number a live process has, be it another one by now.
    """
    if os.name != "posix":  # elsewhere, asking whether a process lives may end it
        return
    ours = re.compile(rf"\..+\.{_place()}\.([1-9][0-9]{{0,8}})\.partial", re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = ours.fullmatch(entry.name)
            if found is None:
                continue
            with suppress(OSError):  # gone meanwhile, or not to be removed by us
                about = entry.stat(follow_symlinks=False)
                own = stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid()
                if own and not _written(entry.name, int(found[1])):
                    Path(entry.path).unlink()


@lru_cache(64)
def _clear_once(folder: Path, _process: int) -> None:
    clear(folder)


def _written(name: str, process: int) -> bool:
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
def _place() -> str:
    """Short for where this process's number means something: the machine, and the container."""
    try:
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        container = ""
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
