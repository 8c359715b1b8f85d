"""Protocol buffers from outside: which fields a message has, without a parser or a schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# The fields of ONNX's ModelProto, and their wire types.
MODEL = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
GRAPH, NODE = 7, 1
# The fields of a GraphProto, all of them messages or texts.
PARTS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
LONGEST = 10  # bytes of a number


class Field(NamedTuple):
    """A field of a message: its number, its wire type, and where its content lies."""

    number: int
    wire: int
    start: int
    end: int


def _number(data: bytes | bytearray | memoryview, at: int, end: int) -> tuple[int, int]:
    """A variable-length number, and where what follows begins; ValueError where there is none."""
    value = 0
    for place in range(LONGEST):
        if at + place >= end:
            raise ValueError("cut short")
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("no number")


def fields(data: bytes | bytearray | memoryview, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`; the last one may reach beyond the end.

    Raises:
        ValueError: no such message.
    """
    at = start
    while at < end:
        key, at = _number(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field without a number")
        if wire == 0:
            begin = at
            _, at = _number(data, at, end)
        elif wire == 2:
            length, begin = _number(data, at, end)
            at = begin + length
        elif wire in (1, 5):
            begin, at = at, at + (8 if wire == 1 else 4)
        else:
            raise ValueError("a group")
        yield Field(number, wire, begin, at)


def recognise(head: bytes) -> bool:
    """Whether a file that starts with `head` is an ONNX model: it has a graph, and nothing foreign."""
    seen: set[int] = set()
    try:
        for field in fields(head, 0, len(head)):
            if MODEL.get(field.number) != field.wire:
                return False
            seen.add(field.number)
            if field.number == GRAPH:
                if field.start >= len(head):
                    return False
                key = head[field.start]
                return bool(seen & {1, 8}) and key & 7 == 2 and key >> 3 in PARTS
    except ValueError:
        return False
    return False


def parts(data: bytes | bytearray, most: int) -> int:
    """How many fields the graphs of a model have, counted up to `most` + 1; ValueError for no model."""
    count = 0
    for field in fields(data, 0, len(data)):
        if field.number == GRAPH:
            for _ in fields(data, field.start, min(field.end, len(data))):
                count += 1
                if count > most:
                    return count
    return count
