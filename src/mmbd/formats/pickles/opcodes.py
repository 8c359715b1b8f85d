"""What a pickle names, found by reading its opcodes: nothing is imported, nothing is called.

This only informs a refusal. Whether a pickle may be loaded is decided by the allow list in
`vet`, which does not rely on anything here having been found.
"""

from __future__ import annotations

import io
import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 32 << 20  # of one pickle; a checkpoint has some hundred bytes a tensor
MAX_OPERATIONS = 1_000_000
MAX_NAMES = 1000
MAX_NAME = 10_000  # characters, of one name or text that is kept
CUT = 40  # of a longer one, its beginning
MAX_KEPT = 1 << 20  # characters, of all names together

OPCODES = {info.code.encode("latin-1"): info for info in pickletools.opcodes}
MARK = pickletools.markobject
STRINGS = {
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
}
COMPUTED = "(a name computed while loading)"


@dataclass(frozen=True)
class Names:
    """The globals of one or several pickles, `module.name`, in order and each once.

    `complete` is False when the bytes end early or stop being a pickle: then what was found
    before is listed.
    """

    globals: tuple[str, ...]
    complete: bool


# Opcodes with a text or bytes after their length, and how many bytes the length takes.
SIZED = {
    "SHORT_BINSTRING": 1,
    "BINSTRING": 4,
    "SHORT_BINUNICODE": 1,
    "BINUNICODE": 4,
    "BINUNICODE8": 8,
    "SHORT_BINBYTES": 1,
    "BINBYTES": 4,
    "BINBYTES8": 8,
    "BYTEARRAY8": 8,
}


def operations(stream: io.BytesIO, most: int | None = None) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    """The opcodes of one pickle with their arguments, up to and with STOP.

    Like `pickletools.genops`, but GLOBAL and INST give a pair (module, name) that may hold any
    character. With `most`, texts of more bytes than that are left unread: only their beginning is
    given, with "..." behind it.

    Raises:
        ValueError: an unknown opcode, a malformed argument, or the end before STOP.
    """
    while True:
        code = stream.read(1)
        if not code:
            raise ValueError("the pickle ends before its STOP")
        info = OPCODES.get(code)
        if info is None:
            raise ValueError(f"unknown pickle opcode {code!r}")
        if info.name in ("GLOBAL", "INST"):
            yield info, (_line(stream), _line(stream))
        elif most is not None and (cut := _cut(stream, SIZED.get(info.name, 0), most)):
            yield info, cut
        else:
            yield info, None if info.arg is None else info.arg.reader(stream)
        if info.name == "STOP":
            return


def _cut(stream: io.BytesIO, width: int, most: int) -> str:
    """The beginning of a text that is longer than `most` bytes; "" if it is not, or no text."""
    if not width:
        return ""
    length = int.from_bytes(stream.read(width), "little")
    if length <= most:
        stream.seek(-width, io.SEEK_CUR)
        return ""
    start, end = stream.tell(), stream.seek(0, io.SEEK_END)
    if length > end - start:
        raise ValueError("the pickle ends inside a text")
    stream.seek(start)
    beginning = stream.read(CUT)
    stream.seek(start + length)
    return beginning.decode("utf-8", "backslashreplace") + "..."


def _line(stream: io.BytesIO) -> str:
    line = stream.readline(MAX_NAME)
    if not line.endswith(b"\n"):
        raise ValueError("the pickle ends inside a name, or the name is too long")
    return line[:-1].decode("utf-8", "backslashreplace")


def names_in(sources: Iterable[bytes]) -> Names:
    """The globals of the pickles that each of `sources` starts with, one after the other.

    All sources share one budget of operations, so that the time is bounded.
    """
    found: dict[str, None] = {}
    complete, budget = True, MAX_OPERATIONS
    for source in sources:
        stream = io.BytesIO(source[:MAX_BYTES])
        ended, budget = _walk(stream, found, budget)
        complete = complete and ended
        while ended and budget > 0 and (following := stream.read(1)):
            stream.seek(-1, io.SEEK_CUR)
            # What follows may be raw numbers: without a protocol mark, only a whole pickle counts.
            more: dict[str, None] = {}
            ended, budget = _walk(stream, more, budget)
            if ended or following == b"\x80":
                found |= more
    return Names(tuple(found), complete)


def _walk(stream: io.BytesIO, found: dict[str, None], budget: int) -> tuple[bool, int]:
    """Add the globals of one pickle to `found`; returns whether it ended, and the budget left."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    protocol, kept = 0, sum(map(len, found))
    try:
        for info, argument in operations(stream, MAX_NAME):
            protocol = argument if info.name == "PROTO" else protocol
            budget -= 1
            if budget <= 0 or len(found) >= MAX_NAMES:
                return False, budget
            name = _named(info.name, argument, stack, protocol < 3)
            if name is not None and name not in found:
                kept += len(name)
                if kept > MAX_KEPT:
                    return False, budget
                found[name] = None
            _step(info, argument, stack, memo)
    except Exception:  # the bytes are hostile, and the answer is always that this is no pickle
        return False, budget
    return True, budget


def _named(operation: str, argument: Any, stack: list[Any], old: bool) -> str | None:
    """The global that an opcode asks for, if any; `old` protocols use the names of Python 2."""
    if operation.startswith("EXT"):
        return f"(extension code {argument} of copyreg)"
    if operation == "STACK_GLOBAL":
        pair: Any = tuple(stack[-2:])
    elif operation in ("GLOBAL", "INST"):
        pair = argument
    else:
        return None
    if len(pair) < 2 or not all(isinstance(part, str) for part in pair):
        return COMPUTED
    if old:
        pair = NAME_MAPPING.get(pair, (IMPORT_MAPPING.get(pair[0], pair[0]), pair[1]))
    return ".".join(pair)


def _step(info: pickletools.OpcodeInfo, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """Follow the stack just far enough to know the strings on it; other values are None."""
    name = info.name
    if name in ("PUT", "BINPUT", "LONG_BINPUT"):
        if 0 <= argument < 1 << 32:  # beyond, integers could be chosen to share one hash
            memo[argument] = stack[-1] if stack else None
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1] if stack else None
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo.get(argument))
    elif name == "DUP":
        stack.append(stack[-1] if stack else None)
    elif name in STRINGS:  # those without a length before them are as long as they like
        stack.append(argument if len(argument) <= MAX_NAME else argument[:CUT] + "...")
    else:
        before, after = info.stack_before, info.stack_after
        if MARK in before:
            while stack and stack.pop() is not MARK:
                pass
            before = before[: before.index(MARK)]
        if before:
            del stack[-len(before) :]
        stack.extend(MARK if kind is MARK else None for kind in after)
