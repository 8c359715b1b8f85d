"""Files of strangers, read with care: regular ones only, opened once, and never beyond a limit.

FIFOs, sockets and devices are not opened: reading one may wait for ever, or never come to an end.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, count

MOST_TEXT = 16 << 20  # bytes of a text: cards, tables, plans, lists of names
MAX_CLASSES = 1_000_000
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
# O_NONBLOCK: should a FIFO take the file's place just now, opening it must not hang.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def opened(path: str | Path, most: int | None = None) -> Generator[BinaryIO]:
    """A regular file, open for reading from its start.

    Args:
        path: the file, or a link to it.
        most: the largest size in bytes; any by default.

    Raises:
        FileNotFoundError: nothing there.
        Failed: not a regular file, larger than `most`, or not readable; names the file.
    """
    path = Path(path)
    try:
        _require_regular(path, path.stat().st_mode)  # a device is not even opened
        descriptor = os.open(path, FLAGS)
    except FileNotFoundError:
        raise FileNotFoundError(f"{named(path)}: there is no such file") from None
    except Failed:
        raise
    except (OSError, ValueError) as error:  # not for this user, or no usable path
        why = getattr(error, "strerror", None) or error
        raise Failed(f"{named(path)}: the file cannot be opened: {why}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _require_regular(path, status.st_mode)
        if most is not None and status.st_size > most:
            raise Failed(
                f"{named(path)}: the file has {count(status.st_size)} bytes, expected at most {count(most)}"
            )
        yield file


def text(path: str | Path, most: int = MOST_TEXT, *, encoding: str = "utf-8") -> str:
    """The whole of a text file; as `opened`, and Failed where it is not in this encoding."""
    with opened(path, most) as file:
        try:
            content = file.read(most + 1)  # some files of the kernel have no size
        except OSError as error:
            raise Failed(f"{named(path)}: the file cannot be read: {error}") from error
    if len(content) > most:
        raise Failed(f"{named(path)}: more than {count(most)} bytes")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Failed(f"{named(path)}: expected text in UTF-8: {error}") from error


def start(path: str | Path, size: int) -> bytes:
    """The first `size` bytes of a file of whatever length; errors as of `opened`."""
    with opened(path) as file:
        try:
            return file.read(size)
        except OSError as error:
            raise Failed(f"{named(path)}: the file cannot be read: {error}") from error


def json_value(path: str | Path, most: int = MOST_TEXT, *, finite: bool = False) -> Any:
    """What a JSON file holds.

    Args:
        path: the file.
        most: see `text`.
        finite: refuse NaN, infinity, and numbers too large for a float.

    Raises:
        FileNotFoundError, Failed: as `text`, and Failed where it is not JSON, says one thing twice,
            or is nested too deeply.
    """
    content = text(path, most, encoding="utf-8-sig")
    options: dict[str, Any] = (
        dict.fromkeys(("parse_constant", "parse_float"), finite_number) if finite else {}
    )
    try:
        return json.loads(content, object_pairs_hook=_once, **options)
    except RecursionError:
        raise Failed(f"{named(path)}: the JSON is nested too deeply") from None
    except ValueError as error:  # also numbers of thousands of digits
        raise Failed(f"{named(path)}: not JSON: {clean_text(said(error), 200)}") from error


def kind(mode: int) -> str:
    """What a file of this mode is that is no regular one."""
    return KINDS.get(stat.S_IFMT(mode), "something else")


def said(error: ValueError) -> str:
    """What a parser says, without advice for programmers."""
    words = str(error)
    return "a number has thousands of digits" if "set_int_max_str_digits" in words else words


def named(path: str | Path) -> str:
    """A path as a message shows it: who wrote the file chose its name."""
    return clean_text(path, 400)


def brief(value: object) -> str:
    """An untrusted value in a few words; what is inside a container is never looked at."""
    if isinstance(value, str):
        return repr(clean_text(value, 40))
    if isinstance(value, int) and abs(value) >= 10**18:  # more digits than Python cares to write
        return "a huge number"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    kinds: dict[type, str] = {dict: "an object", list: "a list", tuple: "a tuple"}
    return kinds.get(type(value), clean_text(type(value).__name__, 40))


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Failed(f"{named(path)}: expected a regular file, found {kind(mode)}; it was not opened")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("one key occurs twice in an object")
    return made


def strict_json(text: str | bytes | bytearray) -> Any:
    """JSON in which no name comes twice in an object, as two readers could take two of them, and without NaN.

    Raises:
        ValueError: anything else.
        RecursionError: nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def finite_number(word: str) -> float:
    """A number of JSON as a float; ValueError for NaN, infinity, and what is too large for a float."""
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word[:20]} is no finite number")
    return value
