"""NumPy's plain numbers and arrays in a pickle: numbers become Python's, arrays stay stand-ins.

Objects, structures and text are refused; nothing of NumPy is called, so whatever it would do with
odd arguments is out of reach.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any

from mmbd.base.errors import Failed
from mmbd.formats.pickles.stand_ins import Global, Storages, odd
from mmbd.formats.pickles.tensors import lengths

# NumPy's names of plain types, and how `struct` reads one number of each.
KINDS = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "c8": "ff",
    "c16": "dd",
}
# The one state that NumPy gives such a type, but for the order of its bytes.
STATES = tuple((3, order, None, None, None, -1, -1, 0) for order in "<|")
# NumPy 1 and 2 have different homes for what makes arrays and numbers.
HOMES = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass(frozen=True, slots=True)
class NumpyType:
    """Stands for the type of a NumPy number."""

    kind: str

    @property
    def bytes(self) -> int:
        return struct.calcsize(f"<{KINDS[self.kind]}")


@dataclass(frozen=True, slots=True)
class NumpyArray:
    """Stands for a NumPy array; its numbers are checked for their size, and not kept."""


def _type(arguments: tuple[Any, ...], storages: Storages) -> NumpyType:
    """numpy.dtype(kind, align, copy): with a copy, as its state is set afterwards."""
    if len(arguments) != 3 or arguments[1] is not False or arguments[2] is not True:
        odd("numpy.dtype")
    if type(arguments[0]) is not str or arguments[0] not in KINDS:
        odd("numpy.dtype")
    return NumpyType(arguments[0])


def _number(arguments: tuple[Any, ...], storages: Storages) -> complex | float | bool:
    """scalar(type, its bytes) as Python's; one of Python objects would be a pickle of its own."""
    if len(arguments) != 2 or type(arguments[0]) is not NumpyType:
        odd("NumPy's scalar")
    kind, raw = arguments
    if type(raw) is not bytes or len(raw) != kind.bytes:
        odd("NumPy's scalar")
    parts = struct.unpack(f"<{KINDS[kind.kind]}", raw)
    return complex(*parts) if len(parts) == 2 else parts[0]


def _array(arguments: tuple[Any, ...], storages: Storages) -> NumpyArray:
    """_reconstruct(ndarray, (0,), b"b"): an empty one, whose state is set afterwards."""
    if arguments != (Global("numpy.ndarray"), (0,), b"b"):
        odd("NumPy's _reconstruct")
    return NumpyArray()


def set_state(target: NumpyType | NumpyArray, state: Any) -> None:
    """What BUILD gives to a NumPy type or array, checked; it changes nothing here."""
    if isinstance(target, NumpyType):
        plain = type(state) is tuple and all(type(part) in (int, str, NoneType) for part in state)
        if not plain or state not in STATES:
            odd("numpy.dtype.__setstate__")
        return
    function = "numpy.ndarray.__setstate__"
    if type(state) is not tuple or len(state) != 5 or type(state[0]) is not int or state[0] != 1:
        odd(function)
    _, shape, kind, fortran, raw = state
    if type(kind) is not NumpyType or type(fortran) is not bool or type(raw) is not bytes:
        odd(function)
    try:
        claimed = math.prod(lengths(shape)) * kind.bytes
    except Failed:
        odd(function)
    if claimed != len(raw):
        odd(function)


CALLS: dict[str, Callable[[tuple[Any, ...], Storages], Any]] = {
    "numpy.dtype": _type,
    **{f"{home}.scalar": _number for home in HOMES},
    **{f"{home}._reconstruct": _array for home in HOMES},
}
