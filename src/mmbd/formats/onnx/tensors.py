"""Tensors in ONNX files: inside the message, or in a plain file beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, count
from mmbd.formats.advice import broken
from mmbd.formats.beside import Beside

MOST_AXES = 16
EXTERNAL = 1
# ONNX's number of a kind -> how it lies in bytes, and the field that has it otherwise.
KINDS: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_data"),
    2: ("|u1", "int32_data"),
    3: ("|i1", "int32_data"),
    4: ("<u2", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("|u1", "int32_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
    12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
    16: ("<u2", "int32_data"),
}
NAMES = {
    8: "text",
    14: "complex64",
    15: "complex128",
    17: "float8",
    18: "float8",
    19: "float8",
    20: "float8",
    21: "uint4",
    22: "int4",
    23: "float4",
    24: "float8",
    25: "uint2",
    26: "int2",
}
TRUTH, BFLOAT16, HALF, DOUBLE = 9, 16, 10, 11
# What is computed in float32 though the file has it otherwise.
OTHERWISE = {HALF: "float16", DOUBLE: "float64", BFLOAT16: "bfloat16"}


def tensor(proto: Any, beside: Beside) -> Tensor:
    """The tensor of a TensorProto, on the CPU: float32, a whole number's own kind, or truth values.

    Raises:
        Failed: its sizes do not go with its bytes.
        Refused: numbers of a kind that is not computed with, such as quantised ones.
    """
    name = clean_text(proto.name, 60)
    kind, dims = int(proto.data_type), [int(length) for length in proto.dims]
    if kind not in KINDS:
        raise Refused(
            f"the tensor {name!r} holds {NAMES.get(kind, f'numbers of kind {kind}')}, which mmbd does not "
            "compute with. Export the network in float32, before it is quantised, and scan that"
        )
    if len(dims) > MOST_AXES or any(length < 0 for length in dims):
        raise broken(f"the tensor {name!r} has shape {dims[: MOST_AXES + 1]}")
    if proto.HasField("segment"):
        raise broken(f"the tensor {name!r} is one part of another")
    form, where = KINDS[kind]
    dtype = np.dtype(form)
    total = math.prod(dims)
    if proto.data_location == EXTERNAL:
        raw: Any = _beside(proto, beside, name, total * dtype.itemsize)
    else:
        raw = proto.raw_data
    if proto.data_location == EXTERNAL or len(raw):
        if len(raw) != total * dtype.itemsize:
            raise broken(
                f"the tensor {name!r} of shape {dims} has {count(len(raw))} bytes, expected "
                f"{count(total * dtype.itemsize)}"
            )
        array = np.frombuffer(raw, dtype)
    else:
        values = getattr(proto, where)
        if len(values) != total:
            raise broken(f"the tensor {name!r} of shape {dims} has {count(len(values))} numbers")
        array = np.fromiter(values, np.float64 if kind == DOUBLE else _wide(kind), total)
        if kind not in (1, DOUBLE):
            array = array.astype(dtype.newbyteorder("=") if kind not in (HALF, BFLOAT16) else np.uint16)
            array = array.view(np.float16) if kind == HALF else array
    return _as_torch(array, kind).reshape(dims)


def _wide(kind: int) -> Any:
    return np.float32 if kind == 1 else np.uint64 if kind in (12, 13) else np.int64


def _as_torch(array: Any, kind: int) -> Tensor:
    """A copy of the numbers as torch's, of a kind that is computed with."""
    if kind == TRUTH:
        return torch.from_numpy(array != 0)
    if kind == BFLOAT16:
        return torch.from_numpy(array.astype(np.int16)).view(torch.bfloat16).float()
    if kind in (1, HALF, DOUBLE):
        with np.errstate(over="ignore"):
            return torch.from_numpy(array.astype(np.float32))
    return torch.from_numpy(array.astype(np.int64 if kind in (4, 12, 13) else array.dtype.newbyteorder("=")))


def _beside(proto: Any, beside: Beside, name: str, wanted: int) -> memoryview:
    """The bytes of a tensor in a file beside the model."""
    said: dict[str, str] = {}
    for entry in proto.external_data:
        if not isinstance(entry.key, str) or not isinstance(entry.value, str):
            raise broken(f"the tensor {name!r} lies in a file whose name is no text")
        if entry.key in said:
            raise broken(f"the tensor {name!r} says twice what its {clean_text(entry.key, 40)} is")
        said[entry.key] = entry.value
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        text = said.get(key, "")
        if text and (len(text) > 19 or not (text.isascii() and text.isdigit())):
            raise broken(f"the tensor {name!r} lies at {key} {clean_text(text, 40)!r}")
        if text:
            numbers[key] = int(text)
    data = beside.read(said.get("location", ""))
    start, length = numbers.get("offset", 0), numbers.get("length", wanted)
    if length != wanted or start + length > len(data):
        raise Failed(
            f"the tensor {name!r} lies at bytes {count(start)} to {count(start + length)} of "
            f"{clean_text(said.get('location', ''), 60)!r}, which has {count(len(data))}; it needs "
            f"{count(wanted)}: fetch both files again, of one version"
        )
    return memoryview(data)[start : start + length]


def decimal_kinds(graph: Any) -> dict[str, int]:
    """The kind of number of every tensor of floating-point numbers, by the tensor's name."""
    tensors = [(each.name, each) for each in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            tensors += [(node.output[0], each.t) for each in node.attribute if each.name == "value"]
    return {
        name: int(each.data_type)
        for name, each in tensors
        if int(each.data_type) in (1, HALF, DOUBLE, BFLOAT16)
    }
