"""An allow list for the pickles in torch checkpoints: what may happen, checked before torch loads.

`vet` goes through a pickle as `torch.load(weights_only=True)` would, with inert stand-ins for
storages and tensors. It passes only the opcodes and the calls that weights need, and only when the
sizes they claim are really in the file. So no defect of torch's own restricted reader can be
reached through an odd call, a false size or a shared object, whatever the release of torch.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mmbd.errors import Failed, Refused
from mmbd.load.pickles import MAX_BYTES, operations
from mmbd.load.text import shown

MAX_OPERATIONS = 2_000_000
MAX_TENSORS = 100_000
MAX_COPIED = 64 << 20
MAX_DIMENSIONS = 16

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


@dataclass
class Storages:
    """The storages that a pickle refers to, by key, as they are met.

    `sizes` are the bytes of each storage in the file; None where they follow the pickle and have
    to be compared afterwards. `fields` is the length of a reference: 5 in zip files, 6 in older
    ones, where the last is None.
    """

    sizes: Mapping[str, int] | None
    met: dict[str, Storage] = field(default_factory=dict[str, Storage])
    tensors: int = 0
    copied: int = 0

    def charge(self, items: int) -> None:
        """Count what is copied: a shared list could be copied over and over otherwise."""
        self.copied += items
        if self.copied > MAX_COPIED:
            raise Failed("the pickle copies its contents too often to be a checkpoint")


def vet(stream: io.BytesIO, storages: Storages) -> Any:
    """Go through one pickle; returns its value with stand-ins for storages and tensors.

    `stream` must hold no more than `pickles.MAX_BYTES`.

    Raises:
        Refused: an opcode, a global or a call that is not on the allow list.
        Failed: malformed, cut short, or sizes that do not agree with the file.
    """
    try:
        return _run(stream, storages)
    except (Refused, Failed):
        raise
    except (ValueError, IndexError, KeyError) as error:
        raise Failed(f"the pickle is broken or cut short: {shown(str(error))}") from None


def _run(stream: io.BytesIO, storages: Storages) -> Any:
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks beneath each mark
    memo: dict[int, Any] = {}
    for count, (info, argument) in enumerate(operations(stream)):
        if count >= MAX_OPERATIONS:
            raise Failed(f"the pickle has more than {MAX_OPERATIONS:,} operations")
        match info.name:
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "BINFLOAT" | "LONG1":
                stack.append(argument)
            case "MARK":
                below.append(stack)
                stack = []
            case "TUPLE":
                items, stack = stack, below.pop()
                stack.append(tuple(items))
            case "TUPLE1":
                stack[-1:] = [(stack[-1],)]
            case "TUPLE2":
                stack[-2:] = [(stack[-2], stack[-1])]
            case "TUPLE3":
                stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "NONE":
                stack.append(None)
            case "NEWTRUE":
                stack.append(True)
            case "NEWFALSE":
                stack.append(False)
            case "BINPERSID":
                stack.append(_storage(stack.pop(), storages))
            case "GLOBAL":
                stack.append(_global(*argument))
            case "REDUCE":
                arguments = stack.pop()
                stack[-1] = _call(stack[-1], arguments, storages)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key, value])
            case "SETITEMS":
                items, stack = stack, below.pop()
                _set_items(stack[-1], items)
            case "APPEND":
                value = stack.pop()
                _extend(stack[-1], [value])
            case "APPENDS":
                items, stack = stack, below.pop()
                _extend(stack[-1], items)
            case "BUILD":
                _metadata(stack.pop(), stack[-1])
            case "SHORT_BINSTRING" if argument.isascii():
                stack.append(argument)
            case "PROTO" if argument == 2:
                pass
            case "STOP":
                return stack.pop()
            case other:
                detail = f" {argument}" if other == "PROTO" else ""
                raise Refused(f"pickle opcode {other}{detail} is not on the allow list for weights")
    raise Failed("the pickle ends before its STOP")


def _global(module: str, name: str) -> Global:
    # Neither part of an allowed name is ambiguous once joined: each has one way to be split.
    full = f"{module}.{name}"
    if (full in ELEMENT_BYTES or full in DTYPES or full in CALLS) and "." not in name:
        return Global(full)
    raise Refused(f"{shown(full)} is not on the allow list for weights")


def _call(function: Any, arguments: Any, storages: Storages) -> Any:
    if not isinstance(function, Global) or function.name not in CALLS:
        raise Refused("the pickle calls something that is not on the allow list for weights")
    if type(arguments) is not tuple:
        raise Failed(f"the pickle calls {function.name} with {type(arguments).__name__}")
    return CALLS[function.name](arguments, storages)


def _odd(function: str) -> NoReturn:
    raise Refused(f"the pickle calls {function} with arguments that weights never have")


def _ordered_dict(arguments: tuple[Any, ...], storages: Storages) -> Any:
    made: OrderedDict[str | int, Any] = OrderedDict()
    if arguments == ():
        return made
    if len(arguments) != 1 or type(arguments[0]) is not list:
        _odd("collections.OrderedDict")
    storages.charge(len(arguments[0]))
    for pair in arguments[0]:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            _odd("collections.OrderedDict")
        _set_items(made, list(pair))
    return made


def _counter(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        _odd("collections.Counter")
    storages.charge(len(arguments[0]))
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
    (offset,), size, stride = _lengths(arguments[1:2]), _lengths(arguments[2]), _lengths(arguments[3])
    if len(size) != len(stride):
        raise Failed("the pickle gives a tensor as many strides as it has not dimensions")
    elements, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        elements *= length
        last += (length - 1) * step
    if elements and (last >= storage.elements or elements > storage.elements):
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


CALLS: dict[str, Callable[[tuple[Any, ...], Storages], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _encode,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
ALLOWED = frozenset(ELEMENT_BYTES) | DTYPES | frozenset(CALLS)


def _storage(reference: Any, storages: Storages) -> Storage:
    """Resolve ("storage", class, key, location, elements) and, in old files, None."""
    if type(reference) is not tuple or len(reference) < 5 or reference[0] != "storage":
        raise Refused("a persistent id is not a storage: it is not on the allow list for weights")
    _, kind, key, location, elements, *view = reference
    if view not in ([], [None]) or not isinstance(kind, Global) or kind.name not in ELEMENT_BYTES:
        raise Refused("a persistent id names no storage class on the allow list for weights")
    if type(key) is not str or not key.isalnum() or not key.isascii() or len(key) > 40:
        raise Refused("a persistent id has a storage key that torch does not write")
    if type(location) is not str or type(elements) is not int or not 0 <= elements < 1 << 62:
        raise Failed("a persistent id has no location or no size")
    storage = Storage(kind.name, key, elements)
    if storages.met.setdefault(key, storage) != storage:
        raise Failed(f"storage {key!r} is given two types or sizes")
    if storages.sizes is not None and storages.sizes.get(key) != storage.bytes:
        found = storages.sizes.get(key)
        held = "the file lacks it" if found is None else f"the file holds {found:,}"
        raise Failed(f"storage {key!r} should have {storage.bytes:,} bytes; {held}")
    return storage


def _set_items(target: Any, items: list[Any]) -> None:
    if type(target) not in (dict, OrderedDict):
        raise Refused("the pickle sets an item of something that is no dictionary")
    if len(items) % 2:
        raise Failed("the pickle sets a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only keys whose hashes are cheap and cannot be made to collide.
        if type(key) is not str and not (type(key) is int and abs(key) < 1 << 60):
            raise Refused(f"a dictionary key of type {type(key).__name__}: weights have names")
        target[key] = value


def _extend(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise Refused("the pickle appends to something that is no list")
    target.extend(items)


def _metadata(state: Any, target: Any) -> None:
    """The versions of the modules, which torch hangs on a state dict; they are not used."""
    if type(target) is not OrderedDict or type(state) is not dict or set(state) - {"_metadata"}:
        raise Refused("the pickle sets attributes: that is not on the allow list for weights")
