"""Checkpoints written byte by byte, so that they can claim anything."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

MAGIC = 0x1950A86A20F9469CFC6C
WEIGHT = struct.pack("<4f", 1, 2, 3, 4)
DICT = b"}X\x06\x00\x00\x00weight"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<L", len(value)) + value.encode()


def whole(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def storage(elements: int, key: str = "0", kind: str = "FloatStorage", last: bytes = b"") -> bytes:
    name = f"ctorch\n{kind}\n".encode()
    return b"(" + text("storage") + name + text(key) + text("cpu") + whole(elements) + last + b"tQ"


def tensor(stored: bytes, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A dictionary with one tensor, as an opcode stream."""
    sizes = b"(" + b"".join(map(whole, size)) + b"t"
    strides = b"(" + b"".join(map(whole, stride)) + b"t"
    return (
        b"\x80\x02"
        + DICT
        + b"ctorch._utils\n_rebuild_tensor_v2\n("
        + stored
        + whole(offset)
        + sizes
        + strides
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )


def zipped(data_pkl: bytes, **members: bytes) -> bytes:
    """A zip laid out as torch's, around this pickle."""
    inside = {"data.pkl": data_pkl, "byteorder": b"little"}
    inside |= {f"data/{name}": data for name, data in members.items()} | {"version": b"3\n"}
    return packed({f"archive/{name}": data for name, data in inside.items()})


def packed(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members: the same bytes at whatever time it is written."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method, compresslevel=9) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method  # also a name that is none
            archive.writestr(info, data)
    return content.getvalue()


def legacy(pickled: bytes, keys: bytes = b"\x80\x02].", storages: bytes = b"") -> bytes:
    """A checkpoint of torch before 1.6 around this pickle."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = (pickle.dumps(part, 2) for part in (MAGIC, 1001, system))
    return b"".join(head) + pickled + keys + storages
