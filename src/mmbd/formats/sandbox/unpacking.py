"""What a box says that a file holds, taken apart with every check again: whoever wrote it may be hostile.

`packing` says how it is written. Nothing here imports, calls or makes anything but the plain values listed
there; a tensor is made only of bytes that are there.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from mmbd.base.errors import Failed
from mmbd.base.reading import finite_number
from mmbd.base.sandbox.client import WAY_OUT
from mmbd.base.text import clean_text
from mmbd.formats.format import Contents
from mmbd.formats.pickles.allowed import check_key, set_items
from mmbd.formats.pickles.stand_ins import DTYPES, Storages
from mmbd.formats.pickles.tensors import MAX_DIMENSIONS, MAX_EXPANDED
from mmbd.formats.sandbox.packing import ALIGNED, LENGTH, STAND_INS

MOST_DOCUMENT = 128 << 20  # bytes
MOST_PARTS = 8_000_000  # of all lists together
MOST_STORAGES = 1_000_000
MOST_NOTES, MOST_NOTE, MOST_FORMAT = 1000, 4000, 200
EMPTY: dict[str, type[Any]] = {"l": list, "d": dict, "o": OrderedDict, "s": set}
KEYS = {"nodes", "root", "storages", "format", "metadata", "notes", "aliases"}


def unpacked(message: bytearray, data: bytes | bytearray) -> Contents:
    """The contents that a message of `packing.packed` tells of; their tensors lie in it, or in `data`.

    Raises:
        Failed: it is not as that writes it, or a tensor claims more than there is.
    """
    try:
        return _contents(message, data)
    except (Failed, MemoryError):
        raise
    except Exception as error:  # whatever hostile bytes make fail is their fault
        _odd(clean_text(f"{type(error).__name__}: {error}", 200))


def _contents(message: bytearray, data: bytes | bytearray) -> Contents:
    document, start = _document(message)
    start += -start % ALIGNED
    storages = [_storage(row, message, start, data) for row in document["storages"]]
    nodes = _Nodes(document["nodes"], storages)
    name, metadata = document["format"], document["metadata"]
    notes, aliases = document["notes"], document["aliases"]
    if type(name) is not str or not (metadata is None or type(metadata) is str):
        _odd("its format or metadata is no text")
    if type(notes) is not list or len(notes) > MOST_NOTES or not _texts(notes):
        _odd("its notes are no texts")
    if type(aliases) is not dict or not _texts([*aliases, *aliases.values()]):
        _odd("its aliases are no texts")
    told = tuple(clean_text(note, MOST_NOTE) for note in notes)
    value = nodes.value(document["root"])
    return Contents(value, clean_text(name, MOST_FORMAT), metadata, told, aliases)


def _document(message: bytearray) -> tuple[dict[str, Any], int]:
    """The JSON document, and where it ends."""
    if len(message) < LENGTH.size:
        _odd("it is cut short")
    (length,) = LENGTH.unpack_from(message)
    end = LENGTH.size + length
    if length > MOST_DOCUMENT or end > len(message):
        _odd(f"it claims a document of {length:,} bytes")
    if message.count(b",", 0, end) + message.count(b"[", 0, end) + message.count(b"{", 0, end) > MOST_PARTS:
        _odd("its document has too many parts")
    found = json.loads(
        message[LENGTH.size : end].decode("ascii"), parse_constant=finite_number, parse_float=finite_number
    )
    if type(found) is not dict or found.keys() != KEYS:
        _odd("its document is another")
    if type(found["nodes"]) is not list or type(found["storages"]) is not list:
        _odd("its document has no lists of nodes and storages")
    if len(found["storages"]) > MOST_STORAGES:
        _odd("it has too many storages")
    return found, end


def _storage(row: Any, message: bytearray, start: int, data: bytes | bytearray) -> torch.Tensor:
    """The bytes of a storage, in place where that can be written to."""
    if type(row) is not list or len(row) != 3 or not _sizes(row) or row[1] not in (0, 1):
        _odd("a storage is none")
    size, ours, at = row
    source = data if ours else message
    at += 0 if ours else start
    if at + size > len(source):
        _odd(f"a storage claims bytes up to {at + size:,} of {len(source):,}")
    if not size:
        return torch.empty(0, dtype=torch.uint8)
    if not isinstance(source, bytearray):
        source, at = bytearray(memoryview(source)[at : at + size]), 0
    return torch.frombuffer(source, dtype=torch.uint8, count=size, offset=at)


class _Nodes:
    """The values that nodes stand for, each made once."""

    def __init__(self, rows: list[Any], storages: list[torch.Tensor]) -> None:
        self._storages = storages
        self._account = Storages(None)
        for row in rows:
            if type(row) is not list or not row or type(row[0]) is not str:
                _odd("a node is none")
        # Those that may hold themselves are made empty first, and tuples of what is before them or empty.
        self._unmade = object()
        self._made: list[Any] = [EMPTY[row[0]]() if row[0] in EMPTY else self._unmade for row in rows]
        for number, row in enumerate(rows):
            if row[0] not in EMPTY:
                self._made[number] = self._value(row)
        for made, row in zip(self._made, rows, strict=True):
            if row[0] in EMPTY:
                self._fill(made, row)

    def value(self, item: Any) -> Any:
        """What a plain value, or the number of a node in brackets, stands for."""
        if type(item) is not list:
            if type(item) is dict:
                _odd("an object where a value was expected")
            return item
        if len(item) != 1 or type(item[0]) is not int or not 0 <= item[0] < len(self._made):
            _odd("a node names another that is not there")
        made = self._made[item[0]]
        if made is self._unmade:
            _odd("a tuple holds itself")
        return made

    def _fill(self, made: Any, row: list[Any]) -> None:
        parts = [self.value(item) for item in row[1:]]
        match made:
            case list():
                made.extend(parts)
            case set():
                for key in parts:
                    check_key(key, self._account)
                made.update(parts)
            case _ if len(parts) % 2:
                _odd("a key without a value")
            case _:
                set_items(made, parts, self._account)

    def _value(self, row: list[Any]) -> Any:
        match row:
            case ["t", *items]:
                return tuple(self.value(item) for item in items)
            case ["b", str(text)]:
                return bytes.fromhex(text)
            case ["f", "nan" | "inf" | "-inf" as text]:
                return float(text)
            case ["c", str(real), str(imaginary)]:
                return complex(float(real), float(imaginary))
            case ["x", str(name), *fields] if name in STAND_INS and all(
                type(field) in (str, int) for field in fields
            ):
                return STAND_INS[name](*fields)
            case ["T", str(dtype), int(storage), int(offset), list(shape), list(stride)]:
                return self._tensor(dtype, storage, offset, shape, stride)
            case _:
                pass
        return _odd(f"a node of an unknown kind {clean_text(row[0], 20)!r}")

    def _tensor(
        self, name: str, storage: int, offset: int, shape: list[Any], stride: list[Any]
    ) -> torch.Tensor:
        dtype = getattr(torch, name, None) if name in DTYPES else None
        if not isinstance(dtype, torch.dtype) or not 0 <= storage < len(self._storages):
            _odd("a tensor of an unknown type, or of no storage")
        if len(shape) > MAX_DIMENSIONS or len(shape) != len(stride) or not _sizes([offset, *shape, *stride]):
            _odd("a tensor has a shape, strides or an offset that are none")
        held = self._storages[storage]
        elements, stored = math.prod(shape), len(held) // dtype.itemsize
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if elements and (last >= stored or elements > max(stored, MAX_EXPANDED)):
            _odd(f"a tensor claims {elements:,} elements up to position {last:,} of {stored:,}")
        if held.data_ptr() % dtype.itemsize:  # numbers must lie at multiples of their size
            self._storages[storage] = held = held.clone()
        if not elements:
            return torch.empty(shape, dtype=dtype)
        return torch.empty(0, dtype=dtype).set_(held.untyped_storage(), offset, shape, stride)


def _sizes(values: Sequence[Any]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _texts(values: Sequence[Any]) -> bool:
    return all(type(value) is str for value in values)


def _odd(what: str) -> NoReturn:
    raise Failed(f"read in a sandbox, and what came out of it is no answer: {what}. {WAY_OUT}")
