"""The tensors that a pickle describes: checked as claims against the file, not yet made.

An empty tensor takes the place of each, until torch has read its numbers (`rebuilt`). A sparse
tensor stays a stand-in: only its parts are tensors, so no false index ever gets into torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import NoneType
from typing import Any

import torch

from mmbd.base.errors import Refused
from mmbd.formats.advice import broken, excessive
from mmbd.formats.pickles.stand_ins import (
    DTYPES,
    STORAGES,
    UNTYPED,
    Claim,
    ConjugatedTensor,
    Global,
    Layout,
    SparseTensor,
    Storage,
    Storages,
)
from mmbd.formats.pickles.stand_ins import odd as _odd

MAX_TENSORS = 50_000
MAX_DIMENSIONS = 16
MAX_EXPANDED = 1 << 20  # elements of a tensor that repeats its storage by a stride of 0

LAYOUTS = {
    "torch.strided": 0,
    "torch.sparse_coo": 3,
    **dict.fromkeys((f"torch.sparse_{name}" for name in ("csr", "csc", "bsr", "bsc")), 4),
}
TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter"}


def storage(reference: Any, storages: Storages) -> Storage:
    """Resolve ("storage", class, key, location, elements) and, in old files, None."""
    if type(reference) is not tuple or len(reference) < 5 or reference[0] != "storage":
        raise Refused("a persistent id is not a storage: it is not on the allow list for weights")
    _, kind, key, location, elements, *view = reference
    if view != ([] if storages.sizes is not None else [None]):
        raise Refused("a persistent id has fields that torch does not write")
    if not isinstance(kind, Global) or kind.name not in STORAGES:
        raise Refused("a persistent id names no storage class on the allow list for weights")
    if type(key) is not str or not key.isalnum() or not key.isascii() or len(key) > 40:
        raise Refused("a persistent id has a storage key that torch does not write")
    if type(location) is not str or len(location) > 40:
        raise Refused("a persistent id has a location that torch does not write")
    if type(elements) is not int or not 0 <= elements < 1 << 62:
        raise broken(f"storage {key!r} claims a number of elements that is no size")
    found = Storage(kind.name, key, elements)
    if storages.met.setdefault(key, found) != found:
        raise broken(f"storage {key!r} is given two types or sizes")
    if storages.sizes is not None and storages.sizes.get(key) != found.bytes:
        size = storages.sizes.get(key)
        held = "the file lacks it" if size is None else f"the file holds {size:,}"
        raise broken(f"storage {key!r} should have {found.bytes:,} bytes; {held}")
    return found


def lengths(values: Any) -> tuple[int, ...]:
    """A shape or strides, checked."""
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS:
        raise broken("the pickle gives a tensor a shape that is none")
    if not all(type(value) is int and 0 <= value < 1 << 62 for value in values):
        raise broken("the pickle gives a tensor a shape or stride that is negative or no integer")
    return values


def is_tensor(value: Any) -> bool:
    return type(value) is torch.Tensor


def _tensor(arguments: tuple[Any, ...], storages: Storages) -> Any:
    """_rebuild_tensor(storage, offset, size, stride); _v2 adds requires_grad, hooks, metadata."""
    if len(arguments) not in (4, 6, 7) or type(arguments[0]) is not Storage:
        _odd("torch._utils._rebuild_tensor")
    if arguments[0].kind == UNTYPED:
        _odd("torch._utils._rebuild_tensor_v2")
    _check_rest("torch._utils._rebuild_tensor_v2", arguments[4:6], arguments[6:])
    return _claim(arguments, STORAGES[arguments[0].kind], arguments[6:], storages)


def _tensor_3(arguments: tuple[Any, ...], storages: Storages) -> Any:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, type, metadata)."""
    function = "torch._utils._rebuild_tensor_v3"
    if len(arguments) not in (7, 8) or type(arguments[0]) is not Storage:
        _odd(function)
    kind = arguments[6]
    if arguments[0].kind != UNTYPED or type(kind) is not Global:
        _odd(function)
    dtype = kind.name.removeprefix("torch.")
    if dtype not in DTYPES:
        _odd(function)
    _check_rest(function, arguments[4:6], arguments[7:])
    return _claim(arguments, dtype, arguments[7:], storages)


def _check_rest(function: str, rest: tuple[Any, ...], metadata: tuple[Any, ...]) -> None:
    """requires_grad is a flag, hooks are empty, metadata says what a view does to its numbers."""
    if rest and (type(rest[0]) is not bool or not _empty(rest[1])):
        _odd(function)
    if metadata and metadata[0] is not None:
        said = metadata[0]
        if type(said) is not dict or set(said) - {"conj", "neg"}:
            _odd(function)
        if not all(type(value) is bool for value in said.values()):
            _odd(function)


def _empty(hooks: Any) -> bool:
    return type(hooks) in (OrderedDict, dict, NoneType) and not hooks


def _claim(arguments: tuple[Any, ...], dtype: str, metadata: tuple[Any, ...], storages: Storages) -> Any:
    held: Storage = arguments[0]
    (offset,), size, stride = (lengths(arguments[1:2]), lengths(arguments[2]), lengths(arguments[3]))
    if len(size) != len(stride):
        raise broken("the pickle gives a tensor as many strides as it has not dimensions")
    elements, last, stored = 1, offset, held.bytes // DTYPES[dtype]
    for length, step in zip(size, stride, strict=True):
        elements *= length
        last += (length - 1) * step
    if elements and (last >= stored or elements > max(stored, MAX_EXPANDED)):
        raise broken(
            f"a tensor claims {elements:,} elements up to position {last:,} of a storage that has {stored:,}"
        )
    if len(storages.tensors) >= MAX_TENSORS:
        raise excessive(f"the checkpoint has more than {MAX_TENSORS:,} tensors")
    place = torch.empty(0, dtype=_dtype(dtype))
    storages.tensors.append(Claim(held, dtype, offset, size, stride, place))
    if metadata and metadata[0] and any(metadata[0].values()):
        return ConjugatedTensor()
    return place


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise Refused(f"this torch, {torch.__version__}, does not know numbers of type {name}")
    return found


def _parameter(arguments: tuple[Any, ...], storages: Storages) -> Any:
    """_rebuild_parameter(data, requires_grad, hooks); _with_state adds attributes, left alone."""
    if len(arguments) not in (3, 4) or not is_tensor(arguments[0]):
        _odd("torch._utils._rebuild_parameter")
    if type(arguments[1]) is not bool or not _empty(arguments[2]):
        _odd("torch._utils._rebuild_parameter")
    return arguments[0]


def _of_type(arguments: tuple[Any, ...], storages: Storages) -> Any:
    """_rebuild_from_type_v2(function, type, its arguments, attributes): these are left alone."""
    function = "torch._tensor._rebuild_from_type_v2"
    if len(arguments) != 4 or type(arguments[0]) is not Global or type(arguments[1]) is not Global:
        _odd(function)
    if arguments[0].name not in REBUILD or arguments[1].name not in TYPES:
        _odd(function)
    if type(arguments[2]) is not tuple:
        _odd(function)
    return REBUILD[arguments[0].name](arguments[2], storages)


def _layout(arguments: tuple[Any, ...], storages: Storages) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not str or arguments[0] not in LAYOUTS:
        _odd("torch.serialization._get_layout")
    return Layout(arguments[0])


def _sparse(arguments: tuple[Any, ...], storages: Storages) -> Any:
    """_rebuild_sparse_tensor(layout, (indices, values, size, coalesced)), or two of indices."""
    function = "torch._utils._rebuild_sparse_tensor"
    if len(arguments) != 2 or type(arguments[0]) is not Layout or type(arguments[1]) is not tuple:
        _odd(function)
    fields, parts = LAYOUTS.get(arguments[0].name, 0), arguments[1]
    if not fields or len(parts) not in {fields, 4}:
        _odd(function)
    flags = parts[3:] if fields == 3 else ()
    if not all(map(is_tensor, parts[: fields - 1])):
        _odd(function)
    if not all(type(flag) in (bool, NoneType) for flag in flags):
        _odd(function)
    lengths(parts[fields - 1])
    return SparseTensor()


REBUILD: dict[str, Callable[[tuple[Any, ...], Storages], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
CALLS: dict[str, Callable[[tuple[Any, ...], Storages], Any]] = {
    **REBUILD,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch.serialization._get_layout": _layout,
}
