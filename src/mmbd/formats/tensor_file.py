"""A safetensors file -> its tensors, without a copy: each lies in the bytes of the file itself.

The header is held against the size of the file before the rest is read, so that a small header
cannot claim much, and a large file that is no such file costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mmbd.base.errors import Failed
from mmbd.base.reading import strict_json
from mmbd.base.text import clean_text
from mmbd.formats.advice import broken, excessive
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.format import Contents
from mmbd.formats.spec import METADATA_KEY

MAX_HEADER = 8 << 20  # 50,000 tensors take six; twice as much would cost seconds to parse
MAX_TENSORS = 50_000
MAX_DIMENSIONS = 16
MAX_ALIASES = 10_000
MAX_ALIAS = 1000  # characters

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
PACKED = {"F4", "F6_E2M3", "F6_E3M2"}  # several numbers in a byte


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: its type, its shape, and its bytes, counted from the header's end."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What the header says: the tensors by name, the metadata, and where the numbers start."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    start: int

    @property
    def aliases(self) -> dict[str, str]:
        """Names of tensors that are left out, as they are others of the file: name -> that one.

        `safetensors.torch.save_model` keeps shared tensors so.
        """
        pairs = {
            name: other
            for name, other in self.metadata.items()
            if other in self.entries and name not in self.entries and len(name) <= MAX_ALIAS
        }
        return pairs if len(pairs) <= MAX_ALIASES else {}


def recognise(head: bytes) -> bool:
    """An 8-byte length, then a JSON object; eight printable characters would be text instead."""
    length = head[:8]
    return head[8:9] == b"{" and any(length) and any(not 32 <= byte < 127 for byte in length)


def read(data: bytes | bytearray, _: Beside = NOTHING) -> Contents:
    """The tensors and the metadata of a whole file; they lie in `data` if that is a bytearray."""
    data = data if isinstance(data, bytearray) else bytearray(data)
    try:
        header = read_header(data, len(data))
        found = tensors(data, header)
    except (Failed, MemoryError):
        raise
    except Exception as error:  # hostile numbers in torch's hands: anything may come
        raise broken(f"the safetensors file is broken: {clean_text(str(error), 200)}") from None
    entry = header.metadata.get(METADATA_KEY)
    return Contents(found, "safetensors", entry, aliases=header.aliases)


def header_bytes(head: bytes | bytearray, size: int) -> int:
    """How many bytes the length and the header of a file of `size` bytes take.

    Raises:
        Failed: more than the file has, or more than the limit.
    """
    length = int.from_bytes(head[:8], "little")
    if length > size - 8:
        raise broken(
            f"the safetensors header claims {length:,} bytes, the file has {size:,}: it was cut short"
        )
    if length > MAX_HEADER:
        raise excessive(f"the safetensors header has {length:,} bytes, the limit is {MAX_HEADER:,}")
    return 8 + length


def read_header(head: bytes | bytearray, size: int) -> Header:
    """The header of a file of `size` bytes, checked against that size.

    Raises:
        Failed: no JSON, an entry that is none, types that torch lacks, or sizes that do not add up.
    """
    start = header_bytes(head[:8], size)
    if head.count(b"{", 8, start) > 4 * MAX_TENSORS:
        raise excessive(f"the safetensors header has more than {MAX_TENSORS:,} tensors")
    try:
        raw = strict_json(head[8:start].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _wrong(f"its header is not JSON: {clean_text(str(error), 200)}") from None
    if not isinstance(raw, dict):
        raise _wrong("its header is no JSON object")
    metadata = raw.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _wrong("its metadata is not text")
    if len(raw) > MAX_TENSORS:
        raise excessive(f"the safetensors header has more than {MAX_TENSORS:,} tensors")
    entries = {name: _entry(name, said) for name, said in raw.items()}
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            raise _wrong(f"the bytes of {clean_text(name)!r} do not follow those of the tensor before")
        at = entry.end
    if start + at != size:
        raise _wrong(f"header and tensors take {start + at:,} bytes, the file has {size:,}")
    return Header(entries, metadata, start)


def tensors(data: bytearray, header: Header) -> dict[str, torch.Tensor]:
    """The tensors of a file with this header; they lie in `data`, and keep it in memory."""
    return {name: _tensor(data, header.start, entry) for name, entry in header.entries.items()}


def _tensor(data: bytearray, start: int, entry: Entry) -> torch.Tensor:
    if entry.begin == entry.end:
        return torch.empty(entry.shape, dtype=entry.dtype)
    begin, count = start + entry.begin, entry.end - entry.begin
    found = torch.frombuffer(data, dtype=torch.uint8, count=count, offset=begin)
    if found.data_ptr() % entry.dtype.itemsize:
        found = found.clone()  # numbers must lie at multiples of their size
    return found.view(entry.dtype).reshape(entry.shape)


def _entry(name: str, said: Any) -> Entry:
    if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
        raise _wrong_entry(name, "is not made of a dtype, a shape and data_offsets")
    shape, offsets, kind = said["shape"], said["data_offsets"], said["dtype"]
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not _sizes(shape):
        raise _wrong_entry(name, "has a shape that is none")
    if not isinstance(offsets, list) or len(offsets) != 2 or not _sizes(offsets):
        raise _wrong_entry(name, "has offsets that are none")
    dtype = getattr(torch, DTYPES.get(kind, "") if isinstance(kind, str) else "", None)
    if not isinstance(dtype, torch.dtype):
        raise _unknown(name, str(kind))
    begin, end = offsets
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise _wrong_entry(name, f"has {end - begin:,} bytes, but its shape and type take others")
    return Entry(dtype, tuple(shape), begin, end)


def _sizes(values: list[Any]) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _unknown(name: str, kind: str) -> Failed:
    if kind in PACKED or kind in DTYPES:
        return Failed(
            f"the tensor {clean_text(name)!r} holds numbers of type {kind}, which are not read here: "
            "save the weights as float32 or float16, and scan those"
        )
    return _wrong_entry(name, f"has the type {clean_text(kind)!r}, which is none")


def _wrong_entry(name: str, what: str) -> Failed:
    return _wrong(f"the entry of {clean_text(name)!r} {what}")


def _wrong(what: str) -> Failed:
    return broken(f"the safetensors file is broken: {what}")
