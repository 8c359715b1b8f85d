"""Files of data that a stranger may send: images, tables and arrays that claim what they like."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"


def png(width: int, height: int) -> bytes:
    """A black image that costs next to nothing, whatever its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    body = rows.compress(bytes((1 + (width + 7) // 8) * height)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def small_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format="PNG")
    return file.getvalue()


def folder(root: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(content)
    return root


def parquet(path: Path, blobs, labels, *, column="image", kind=None, metadata=None) -> Path:
    rows = [{"bytes": blob, "path": None} for blob in blobs]
    kind = kind or pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(rows, kind), "label": labels})
    if metadata is not None:
        table = table.replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, path)
    return path


def hdf5(path: Path, label=(0, 1)) -> Path:
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((2, 9, 3), dtype=np.float32)
        file["label"] = list(label)
    return path


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path: Path, x: bytes) -> Path:
    labels = io.BytesIO()
    np.save(labels, np.zeros(2, dtype=np.int64))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", x)
        archive.writestr("y.npy", labels.getvalue())
    return path
