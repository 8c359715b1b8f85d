"""What the pickle of a torch checkpoint may name and call, and the inert things that come of it.

Each entry of `CALLS` checks its arguments as torch would use them and returns a stand-in; a name
that is not here is refused. Lists and dictionaries are themselves: building them runs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, NoReturn

from mmbd.errors import Failed, Refused

MAX_TENSORS = 50_000
MAX_COPIED = 16 << 20
ITEM_BYTES = 64  # of a list or a dictionary, roughly
MAX_DIMENSIONS = 16
MAX_EXPANDED = 1 << 20  # elements of a tensor that repeats its storage by a stride of 0

ELEMENT_BYTES = {
    f"torch.{name}Storage": size
    for name, size in (
        ("Double", 8), ("Float", 4), ("Half", 2), ("BFloat16", 2), ("Long", 8), ("Int", 4),
        ("Short", 2), ("Char", 1), ("Byte", 1), ("Bool", 1), ("ComplexFloat", 8),
        ("ComplexDouble", 16),
    )
}  # fmt: skip
DTYPES = {
    f"torch.{name}"
    for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool", "complex64", "complex128",
    )
}  # fmt: skip
# Bytes of the NumPy numbers that training loops leave beside the weights (a best accuracy, say).
NUMPY_BYTES = {
    kind: int(kind[1])
    for kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}
# The one state that NumPy gives such a type, but for the order of its bytes.
NUMPY_STATES = tuple((3, order, None, None, None, -1, -1, 0) for order in "<|")


@dataclass(frozen=True, slots=True)
class Global:
    """A name on the allow list; nothing is imported for it."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Stands for `elements` numbers of a storage class (`kind`), kept in the file under `key`."""

    kind: str
    key: str
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * ELEMENT_BYTES[self.kind]


@dataclass(frozen=True, slots=True)
class Tensor:
    """Stands for a tensor."""


@dataclass(frozen=True, slots=True)
class NumpyType:
    """Stands for the type of a NumPy number."""

    kind: str


@dataclass(frozen=True, slots=True)
class NumpyNumber:
    """Stands for a NumPy number; nothing is done with it."""


@dataclass
class Storages:
    """The storages that a pickle refers to, by key, as they are met.

    `sizes` are the bytes of each storage in a zip file; None in older files, where the storages
    follow the pickle and have to be compared afterwards.
    """

    sizes: Mapping[str, int] | None
    met: dict[str, Storage] = field(default_factory=dict[str, Storage])
    tensors: int = 0
    copied: int = 0

    def charge(self, size: int) -> None:
        """Count the bytes copied: a shared list could be copied over and over otherwise."""
        self.copied += size
        if self.copied > MAX_COPIED:
            raise Failed("the pickle copies its contents too often to be a checkpoint")


def storage(reference: Any, storages: Storages) -> Storage:
    """Resolve ("storage", class, key, location, elements) and, in old files, None."""
    if type(reference) is not tuple or len(reference) < 5 or reference[0] != "storage":
        raise Refused("a persistent id is not a storage: it is not on the allow list for weights")
    _, kind, key, location, elements, *view = reference
    if view != ([] if storages.sizes is not None else [None]):
        raise Refused("a persistent id has fields that torch does not write")
    if not isinstance(kind, Global) or kind.name not in ELEMENT_BYTES:
        raise Refused("a persistent id names no storage class on the allow list for weights")
    if type(key) is not str or not key.isalnum() or not key.isascii() or len(key) > 40:
        raise Refused("a persistent id has a storage key that torch does not write")
    if type(location) is not str or type(elements) is not int or not 0 <= elements < 1 << 62:
        raise Failed("a persistent id has no location or no size")
    found = Storage(kind.name, key, elements)
    if storages.met.setdefault(key, found) != found:
        raise Failed(f"storage {key!r} is given two types or sizes")
    if storages.sizes is not None and storages.sizes.get(key) != found.bytes:
        size = storages.sizes.get(key)
        held = "the file lacks it" if size is None else f"the file holds {size:,}"
        raise Failed(f"storage {key!r} should have {found.bytes:,} bytes; {held}")
    return found


def set_items(target: Any, items: list[Any]) -> None:
    if type(target) not in (dict, OrderedDict):
        raise Refused("the pickle sets an item of something that is no dictionary")
    if len(items) % 2:
        raise Failed("the pickle sets a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only keys whose hashes are cheap and cannot be made to collide.
        if type(key) is not str and not (type(key) is int and abs(key) < 1 << 60):
            raise Refused(f"a dictionary key of type {type(key).__name__}: weights have names")
        target[key] = value


def _odd(function: str) -> NoReturn:
    raise Refused(f"the pickle calls {function} with arguments that weights never have")


def _ordered_dict(arguments: tuple[Any, ...], storages: Storages) -> Any:
    made: OrderedDict[str | int, Any] = OrderedDict()
    if arguments == ():
        return made
    if len(arguments) != 1 or type(arguments[0]) is not list:
        _odd("collections.OrderedDict")
    storages.charge(ITEM_BYTES * len(arguments[0]))
    for pair in arguments[0]:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            _odd("collections.OrderedDict")
        set_items(made, list(pair))
    return made


def _counter(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        _odd("collections.Counter")
    storages.charge(ITEM_BYTES * len(arguments[0]))
    if not all(type(value) is int for value in arguments[0].values()):
        _odd("collections.Counter")
    return dict(arguments[0])


def _size(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        _odd("torch.Size")
    return _lengths(arguments[0])


def _device(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if not 1 <= len(arguments) <= 2 or type(arguments[0]) is not str or len(arguments[0]) > 40:
        _odd("torch.device")
    return None


def _encode(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 2 or arguments[1] != "latin1" or type(arguments[0]) is not str:
        _odd("_codecs.encode")
    storages.charge(len(arguments[0]))
    return arguments[0].encode("latin1")


def _lengths(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS:
        raise Failed("the pickle gives a tensor a shape that is none")
    if not all(type(value) is int and 0 <= value < 1 << 62 for value in values):
        raise Failed("the pickle gives a tensor a shape or stride that is negative or no integer")
    return values


def _tensor(arguments: tuple[Any, ...], storages: Storages) -> Tensor:
    """_rebuild_tensor(storage, offset, size, stride); _v2 adds requires_grad and hooks."""
    if len(arguments) not in (4, 6) or type(arguments[0]) is not Storage:
        _odd("torch._utils._rebuild_tensor")
    if len(arguments) == 6 and (type(arguments[4]) is not bool or arguments[5]):
        _odd("torch._utils._rebuild_tensor_v2")
    storage = arguments[0]
    (offset,), size, stride = (
        _lengths(arguments[1:2]),
        _lengths(arguments[2]),
        _lengths(arguments[3]),
    )
    if len(size) != len(stride):
        raise Failed("the pickle gives a tensor as many strides as it has not dimensions")
    elements, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        elements *= length
        last += (length - 1) * step
    if elements and (last >= storage.elements or elements > max(storage.elements, MAX_EXPANDED)):
        raise Failed(
            f"a tensor claims {elements:,} elements up to position {last:,} of a storage that has "
            f"{storage.elements:,}"
        )
    storages.tensors += 1
    if storages.tensors > MAX_TENSORS:
        raise Failed(f"the checkpoint has more than {MAX_TENSORS:,} tensors")
    return Tensor()


def _parameter(arguments: tuple[Any, ...], storages: Storages) -> Tensor:
    """_rebuild_parameter(data, requires_grad, hooks)."""
    if len(arguments) != 3 or type(arguments[0]) is not Tensor or type(arguments[1]) is not bool:
        _odd("torch._utils._rebuild_parameter")
    if arguments[2]:
        _odd("torch._utils._rebuild_parameter")
    return arguments[0]


def _numpy_type(arguments: tuple[Any, ...], storages: Storages) -> NumpyType:
    """numpy.dtype(kind, align, copy): with a copy, as its state is set afterwards."""
    if len(arguments) != 3 or arguments[1] is not False or arguments[2] is not True:
        _odd("numpy.dtype")
    if type(arguments[0]) is not str or arguments[0] not in NUMPY_BYTES:
        _odd("numpy.dtype")
    return NumpyType(arguments[0])


def _numpy_number(arguments: tuple[Any, ...], storages: Storages) -> NumpyNumber:
    """scalar(type, its bytes); one of Python objects would be a pickle of its own."""
    if len(arguments) != 2 or type(arguments[0]) is not NumpyType:
        _odd("NumPy's scalar")
    if type(arguments[1]) is not bytes or len(arguments[1]) != NUMPY_BYTES[arguments[0].kind]:
        _odd("NumPy's scalar")
    return NumpyNumber()


def set_state(target: Any, state: Any) -> None:
    """What BUILD may do: hang the modules' versions on a state dict, complete a NumPy type."""
    if type(target) is NumpyType:
        plain = type(state) is tuple and all(type(part) in (int, str, NoneType) for part in state)
        if not plain or state not in NUMPY_STATES:
            _odd("numpy.dtype.__setstate__")
    elif type(target) is not OrderedDict or type(state) is not dict or set(state) - {"_metadata"}:
        raise Refused("the pickle sets attributes: that is not on the allow list for weights")


# NumPy 1 and 2 have different homes for it.
NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
CALLS: dict[str, Callable[[tuple[Any, ...], Storages], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _encode,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "numpy.dtype": _numpy_type,
    **dict.fromkeys(NUMPY_SCALARS, _numpy_number),
}
ALLOWED = frozenset(ELEMENT_BYTES) | DTYPES | frozenset(CALLS)
