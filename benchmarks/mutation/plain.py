"""Mutations of bytes and of JSON."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

ODD_BYTES = (0, 1, 2, 0x2E, 0x7F, 0x80, 0xFE, 0xFF)
ODD_NUMBERS = (0, 1, -1, 7, 127, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
LONG_NUMBERS = (1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3.5,
    1e308,
    float("nan"),
    float("inf"),
    1 << 20,
    1 << 40,
    1 << 70,
    "",
    "a",
    "..",
    "../x",
    "/etc/passwd",
    "\x00",
    "\u202e",
    "\ud800",
    "same",
    "relu",
    "Lambda",
    "Dense",
    "F32",
    "x" * 5000,
    [],
    [1, 2],
    [[0, 1]],
    [0] * 200,
    {},
    {"class_name": "Dense", "config": {}},
)
MOST = 1 << 20  # bytes of a mutant


def bytes_changed(data: bytes, source: random.Random) -> bytes:
    """One change of a few bytes."""
    if not data:
        return source.randbytes(20)
    held = bytearray(data)
    size = len(held)
    # Headers are at the beginnings and ends of files.
    near = source.choice((size, size, min(size, 256), min(size, 2048)))
    at = source.randrange(near) if source.random() < 0.85 else size - 1 - source.randrange(near)
    match source.randrange(9):
        case 0:
            for _ in range(source.choice((1, 1, 2, 8))):
                held[source.randrange(size)] ^= 1 << source.randrange(8)
        case 1:
            held[at] = source.choice(ODD_BYTES)
        case 2:
            held[at] = source.randrange(256)
        case 3:
            held = held[:at]
        case 4:
            end = min(size, at + source.choice((1, 4, 16, 200)))
            del held[at:end]
        case 5:
            start = source.randrange(size)
            part = held[start : start + source.choice((1, 4, 16, 200, 2000))]
            where = source.randrange(size)
            held[where : where + (len(part) if source.random() < 0.5 else 0)] = part
        case 6:
            held[at:at] = source.randbytes(source.choice((1, 4, 64)))
        case 7:
            held[at:at] = held[at : at + 64] * source.choice((2, 50))
        case _:
            held = _length(held, at, source)
    return bytes(held[:MOST])


def _length(held: bytearray, at: int, source: random.Random) -> bytearray:
    """A number where the file may keep a length or a place."""
    width = source.choice((1, 2, 4, 4, 8, 8))
    order = source.choice(("<", "<", ">"))
    form = {1: "B", 2: "H", 4: "L", 8: "Q"}[width]
    value = source.choice((*ODD_NUMBERS, *LONG_NUMBERS, len(held), len(held) - at, at))
    if at + width <= len(held) and source.random() < 0.4:
        (known,) = struct.unpack(order + form, held[at : at + width])
        value = known + source.choice((-8, -1, 1, 8, 4096))
    held[at : at + width] = struct.pack(order + form, value % (1 << (8 * width)))
    return held


def json_changed(data: bytes, source: random.Random) -> bytes:
    """One to three values changed somewhere in a JSON text; bytes if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return bytes_changed(data, source)
    for _ in range(source.randint(1, 3)):
        value = value_changed(value, source)
    text = json.dumps(value)
    if source.random() < 0.03:
        text = "[" * 100_000 + text
    return text.encode("utf-8", "surrogatepass")[:MOST]


def value_changed(value: Any, source: random.Random) -> Any:
    """Plain data with one thing changed somewhere in it; the same object, where it is not replaced whole."""
    here = value
    while isinstance(here, dict | list) and here:
        key = source.choice(list(here) if isinstance(here, dict) else range(len(here)))
        if isinstance(here[key], dict | list) and source.random() < 0.85:
            here = here[key]
            continue
        _entry_changed(here, key, source)
        return value
    return copy.deepcopy(source.choice(ODD)) if here is value else value


def _entry_changed(here: Any, key: Any, source: random.Random) -> None:
    match source.randrange(6):
        case 0:
            del here[key]
        case 1 if isinstance(here, dict):
            here[source.choice(("x", "", "module", "class_name", key + "_", "auto_map"))] = here.pop(key)
        case 1:
            here.insert(key, copy.deepcopy(here[key]))
        case 2:
            other = source.choice(list(here) if isinstance(here, dict) else range(len(here)))
            here[key] = copy.deepcopy(here[other])
        case 3 if isinstance(here[key], int | float) and not isinstance(here[key], bool):
            here[key] = source.choice((here[key] + 1, here[key] - 1, -here[key], here[key] * 1000))
        case _:
            here[key] = copy.deepcopy(source.choice(ODD))
