"""How the two ends of a box's pipes talk: messages of a sign, a length, and so many bytes."""

from __future__ import annotations

import io
import os
import select
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

HEAD = struct.Struct("<cQ")
PIECE = 1 << 20
# What comes out of a box: its locks, a wish for something beside the file, what went wrong, the result.
LOCKS, WISH, FAILURE, RESULT = b"L", b"W", b"F", b"R"
MOST_WORDS = 64 << 10  # bytes of any of these but a result
GIVEN = b"G"  # the one sign of what goes in

Bytes = bytes | bytearray | memoryview


class Garbled(Exception):
    """What came is no message, or too long; says what."""


class Late(Exception):
    """Nothing came, or was taken, until the end of the time."""


@dataclass(frozen=True)
class Ends:
    """One process's ends of the two pipes; as a context, it closes both."""

    comes: int
    goes: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.comes)
        os.close(self.goes)

    def send(self, sign: bytes, parts: Sequence[Bytes], until: float | None = None) -> None:
        """Send one message, its bytes in several parts.

        Raises:
            OSError: the other process is gone.
            Late: it has not taken the message by then (`time.monotonic`).
        """
        views = [memoryview(part).cast("B") for part in parts]
        for view in (memoryview(HEAD.pack(sign, sum(map(len, views)))), *views):
            done = 0
            while done < len(view):
                _ready(self.goes, select.POLLOUT, until)
                done += os.write(self.goes, view[done : done + PIECE])

    def receive(self, most: Mapping[bytes, int], until: float | None = None) -> tuple[bytes, bytearray]:
        """The next message: its sign, which must be one of those in `most`, and its bytes, at most so many.

        Raises:
            EOFError: the other process is gone.
            Garbled: another sign, more bytes, or an end in the middle.
            Late: it was not here by then.
        """
        sign, length = self._head(most, until)
        body = bytearray(length)
        self._fill(body, until)
        return sign, body

    def receive_bytes(self, most: Mapping[bytes, int]) -> bytes:
        """The bytes of the next message, as `receive`, for whoever wants them so: without another copy."""
        _, left = self._head(most, None)
        piece, found = memoryview(bytearray(PIECE)), io.BytesIO()
        while left:
            count = os.readv(self.comes, [piece[: min(left, PIECE)]])
            if not count:
                raise Garbled("it ends in the middle")
            found.write(piece[:count])
            left -= count
        return found.getvalue()

    def _head(self, most: Mapping[bytes, int], until: float | None) -> tuple[bytes, int]:
        head = bytearray(HEAD.size)
        self._fill(head, until, first=True)
        sign, length = HEAD.unpack(head)
        if sign not in most:
            raise Garbled("it does not begin as a message does")
        if length > most[sign]:
            raise Garbled(f"it claims {length:,} bytes, expected at most {most[sign]:,}")
        return sign, length

    def _fill(self, place: bytearray, until: float | None, *, first: bool = False) -> None:
        view, done = memoryview(place), 0
        while done < len(view):
            _ready(self.comes, select.POLLIN, until)
            count = os.readv(self.comes, [view[done : done + PIECE]])
            if not count and first and not done:
                raise EOFError
            if not count:
                raise Garbled("it ends in the middle")
            done += count


def _ready(descriptor: int, event: int, until: float | None) -> None:
    if until is None:
        return
    waiting = select.poll()
    waiting.register(descriptor, event)
    while (left := until - time.monotonic()) > 0:
        if waiting.poll(min(left * 1000, 1000) + 1):
            return
    raise Late


def pipe() -> tuple[int, int]:
    """A pipe's two ends, with room for a megabyte where the system gives it."""
    import fcntl

    ends = os.pipe()
    with suppress(OSError):  # as much as there is, then
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIECE)
    return ends
