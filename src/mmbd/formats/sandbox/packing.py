"""Contents of a file as bytes for another process: one JSON document, then the numbers of the tensors.

A number in brackets stands for what has parts or is no plain value of JSON, by its place in a list of
nodes, so that what was shared is shared again, and what holds itself does, too. A node is a list that begins
with its kind:

    l, t, d, o, s   a list, a tuple, a dict or an OrderedDict (keys and values in turn), a set
    b, f, c         bytes in hexadecimal, a float that is not finite, a complex number by its parts
    T               a tensor: its type, storage, offset, shape and strides
    x               an inert stand-in of our own: its class, and its fields
"""

from __future__ import annotations

import ctypes
import json
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

import torch

from mmbd.base.sandbox.talk import Bytes
from mmbd.formats.format import Contents
from mmbd.formats.pickles import arrays, stand_ins

LENGTH = struct.Struct("<Q")  # of the document, before it
ALIGNED = 64  # storages begin at multiples of so many bytes
LARGE, BEGINNING, NEAR = 4096, 64, 1 << 20  # bytes: what is looked for in the file, by what, how far
STAND_INS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(stand_ins.Global, stand_ins.Storage, stand_ins.Layout, stand_ins.SparseTensor),
        *(stand_ins.ConjugatedTensor, stand_ins.Namespace, arrays.NumpyType, arrays.NumpyArray),
    )
}
PLAIN = (str, int, bool, type(None))
FULL = {list: "l", tuple: "t", dict: "d", OrderedDict: "o", set: "s", frozenset: "s"}


def packed(contents: Contents, data: Bytes) -> list[Bytes]:
    """The parts of the message that says what these contents are.

    Tensors that lie in `data`, which the other process has, are not sent: where they lie is.

    Raises:
        TypeError: something in them is no plain data.
    """
    storages = _Storages(data)
    nodes, root = _nodes(contents.value, storages)
    document = json.dumps(
        {
            "nodes": nodes,
            "root": root,
            "storages": storages.listed,
            "format": contents.format,
            "metadata": contents.metadata,
            "notes": list(contents.notes),
            "aliases": dict(contents.aliases),
        },
        allow_nan=False,
        separators=(",", ":"),
    ).encode("ascii")
    start = LENGTH.size + len(document)
    return [LENGTH.pack(len(document)), document, bytes(-start % ALIGNED), *storages.parts]


class _Storages:
    """The memory that tensors lie in, each piece once: its bytes, and where they are in which message."""

    def __init__(self, data: Bytes) -> None:
        self.listed: list[list[int]] = []  # bytes; 1 where they lie in `data`; where they start there
        self.parts: list[Bytes] = []
        self._known: dict[tuple[int, int], int] = {}
        self._kept: list[torch.UntypedStorage] = []  # so that no address comes twice
        self._sent = 0
        self._data, self._last = data, 0  # where in it the storage before ended
        whole = torch.frombuffer(data, dtype=torch.uint8) if isinstance(data, bytearray) and data else None
        self._begin = whole.data_ptr() if whole is not None else 0
        self._end = self._begin + (0 if whole is None else len(whole))

    def _copied(self, at: int, size: int) -> int | None:
        """Where `data` has the same bytes: readers mostly copy storages out of it, one after the other.

        Only where it cannot be written to, as the other process then copies them out, too.
        """
        if not isinstance(self._data, bytes) or size < LARGE:
            return None
        begin = ctypes.string_at(at, BEGINNING)
        place = self._data.find(begin, self._last, min(self._last + NEAR, len(self._data) - size) + BEGINNING)
        base = ctypes.cast(ctypes.c_char_p(self._data), ctypes.c_void_p).value or 0
        if place < 0 or ctypes.CDLL(None).memcmp(
            ctypes.c_void_p(at), ctypes.c_void_p(base + place), ctypes.c_size_t(size)
        ):
            return None
        self._last = place + size
        return place

    def number(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        at, size = storage.data_ptr(), storage.nbytes()
        if (at, size) in self._known:
            return self._known[at, size]
        self._known[at, size] = number = len(self.listed)
        self._kept.append(storage)
        place = at - self._begin if self._begin <= at and at + size <= self._end else self._copied(at, size)
        if size and place is not None:
            self.listed.append([size, 1, place])
            return number
        self.listed.append([size, 0, self._sent])
        if size:
            whole = torch.empty(0, dtype=torch.uint8).set_(storage)
            self.parts += [whole.numpy().data, bytes(-size % ALIGNED)]
            self._sent += size + -size % ALIGNED
        return number


def _nodes(value: Any, storages: _Storages) -> tuple[list[list[Any]], Any]:
    """The nodes that `value` is made of, and what stands for it itself."""
    places: dict[int, int] = {}
    found: list[Any] = []
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in places or _plain(item):
            continue
        inside = _inside(item)
        if type(item) is tuple:  # after its parts, as it is made of them
            late = [part for part in inside if id(part) not in places and not _plain(part)]
            if late:
                waiting += [item, *reversed(late)]
                continue
            inside = ()
        places[id(item)] = len(found)
        found.append(item)
        waiting += reversed(inside)  # so that storages come in the order of the file

    def told(item: Any) -> Any:
        return item if _plain(item) else [places[id(item)]]

    return [_node(item, told, storages) for item in found], told(value)


def _plain(item: Any) -> bool:
    return type(item) in PLAIN or (type(item) is float and isfinite(item))


def _inside(item: Any) -> Sequence[Any]:
    if type(item) in (dict, OrderedDict):
        return [part for pair in item.items() for part in pair]
    return list(item) if type(item) in FULL else ()


def _node(item: Any, told: Any, storages: _Storages) -> list[Any]:
    kind = type(item)
    if kind in FULL:
        return [FULL[kind], *map(told, _inside(item))]
    if kind is float:
        return ["f", repr(item)]
    if kind is complex:
        return ["c", repr(item.real), repr(item.imag)]
    if kind in (bytes, bytearray):
        return ["b", item.hex()]
    if isinstance(item, torch.Tensor) and item.layout is torch.strided and item.device.type == "cpu":
        where = [storages.number(item), item.storage_offset(), list(item.shape), list(item.stride())]
        return ["T", str(item.dtype).removeprefix("torch."), *where]
    if STAND_INS.get(kind.__name__) is kind:
        return [
            "x",
            kind.__name__,
            *(getattr(item, each.name) for each in (fields(item) if is_dataclass(item) else ())),
        ]
    raise TypeError(f"a {kind.__name__} among the contents, which is no plain data")
