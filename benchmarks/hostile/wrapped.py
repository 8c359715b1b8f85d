"""Payloads in other envelopes, under other names, and files that are two things at once."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zlib
from pathlib import Path

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, STOPPED, Case, later, several
from benchmarks.hostile.checkpoints import checkpoint
from benchmarks.hostile.payload import SHELL, pickled

ENVELOPE, RENAMED, POLYGLOT, PLACE = "envelope", "renamed", "polyglot", "name or place"
EVIL = pickled()
SUFFIXES = (
    ".safetensors", ".onnx", ".pt2", ".keras", ".h5", ".gguf", ".tflite", ".npy", ".json", ".txt", ".bin",
    ".ckpt", ".th", ".pth", ".joblib", ".dill", ".mlmodel", ".pb", "",
)  # fmt: skip


def cases() -> list[Case]:
    return [*_envelopes(), *_renamed(), *_polyglots(), *_places()]


def _tar(members: dict[str, bytes], *links: tuple[str, str], form: int = tarfile.USTAR_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def _envelopes() -> list[Case]:
    model = checkpoint()
    found = {
        "gzip": (gzip.compress(EVIL, mtime=0), ".pkl.gz"),
        "gzip of gzip": (gzip.compress(gzip.compress(EVIL, mtime=0), mtime=0), ".gz"),
        "gzip of a checkpoint": (gzip.compress(model, mtime=0), ".pt"),
        "bzip2": (bz2.compress(EVIL), ".pkl"),
        "xz": (lzma.compress(EVIL), ".pkl.xz"),
        "lzma": (lzma.compress(EVIL, lzma.FORMAT_ALONE), ".pkl"),
        "zlib": (zlib.compress(EVIL), ".pkl"),
        "Zstandard": (b"\x28\xb5\x2f\xfd\x20" + bytes([len(EVIL)]) + b"\x01\0\0" + EVIL, ".pkl.zst"),
        "LZ4": (b"\x04\x22\x4d\x18" + bytes(20) + EVIL, ".lz4"),
        "7-Zip": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24) + EVIL, ".7z"),
        "7-Zip named .bin": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24) + EVIL, ".bin"),
        "RAR": (b"Rar!\x1a\x07\x01\0" + EVIL, ".rar"),
        "tar": (_tar({"model.pkl": EVIL}), ".tar"),
        "tar of pax": (_tar({"model.pkl": EVIL}, form=tarfile.PAX_FORMAT), ".tar"),
        "tar of GNU": (_tar({"model.pkl": EVIL}, form=tarfile.GNU_FORMAT), ".pt"),
        "tar with names that lead out": (_tar({"../../model.pkl": EVIL, "/tmp/x.pkl": EVIL}), ".tar"),
        "tar with links": (_tar({"model.pkl": EVIL}, ("l", "/etc"), ("l/x", "../..")), ".tar"),
        "tar as torch's first format": (
            _tar({"pickle": EVIL, "sys_info": b"\x80\x02}.", "tensors": EVIL}),
            ".pt",
        ),
        "tar in gzip": (gzip.compress(_tar({"m/pytorch_model.bin": model}), mtime=0), ".tar.gz"),
        "zip in tar in gzip": (
            gzip.compress(_tar({"m.zip": valid.packed({"m.pkl": EVIL})}), mtime=0),
            ".tgz",
        ),
        "tar in zip": (valid.packed({"m.tar": _tar({"m.pkl": EVIL})}), ".zip"),
        "a gigabyte in gzip": (later(lambda: gzip.compress(bytes(1 << 27), mtime=0) * 8), ".gz"),
        "MIME": (b"Content-Type: application/octet-stream\n\n" + EVIL, ".eml"),
    }
    return [Case(ENVELOPE, name, data, REFUSED, suffix, "") for name, (data, suffix) in found.items()]


def _renamed() -> list[Case]:
    found = [
        Case(RENAMED, f"a pickle named {name or 'without suffix'}", EVIL, REFUSED, name, "pickle_load")
        for name in SUFFIXES
    ]
    others = {
        "a checkpoint named .safetensors": (checkpoint(), ".safetensors"),
        "a checkpoint named .onnx": (checkpoint(), ".onnx"),
        "a checkpoint named .keras": (checkpoint(), ".keras"),
        "a checkpoint named .pt2": (checkpoint(), ".pt2"),
        "a checkpoint named .npz": (checkpoint(), ".npz"),
        "a checkpoint named .txt": (checkpoint(), ".txt"),
    }
    return found + [
        Case(RENAMED, name, data, REFUSED, suffix, "torch_load") for name, (data, suffix) in others.items()
    ]


def _polyglots() -> list[Case]:
    tensors, graph = valid.tensor_file(), valid.onnx_model().SerializeToString()
    head = b'{"__metadata__":{},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    # A header of 0x...0280 bytes: a pickle by its first two bytes, of a protocol that there is.
    long = head.ljust(0x0280)
    pickled_length = struct.pack("<Q", len(long)) + long
    contents = {
        "safetensors and a pickle behind": (tensors + EVIL, STOPPED, ".safetensors", "safetensors_load"),
        "safetensors and a checkpoint behind": (
            tensors + checkpoint(),
            STOPPED,
            ".safetensors",
            "torch_load",
        ),
        "safetensors that starts as a pickle": (pickled_length, READ, ".safetensors", "torch_load"),
        "a pickle and safetensors behind": (EVIL + tensors, REFUSED, ".safetensors", "pickle_load"),
        "a pickle and a checkpoint behind": (EVIL + checkpoint(b"\x80\x02}."), STOPPED, ".pt", "pickle_load"),
        "ONNX and a checkpoint behind": (graph + checkpoint(), STOPPED, ".onnx", "torch_load"),
        "ONNX with a checkpoint as a field": (
            graph + b"\xfa\x7f" + _size(len(checkpoint())) + checkpoint(),
            READ,
            ".onnx",
            "torch_load",
        ),
        "a pickle and ONNX behind": (EVIL + graph, REFUSED, ".onnx", "pickle_load"),
        "HDF5 and a checkpoint behind": (valid.keras_hdf5() + checkpoint(), READ, ".h5", "torch_load"),
        "HDF5 with a pickle before": (
            EVIL.ljust(512, b"\0") + valid.keras_hdf5(),
            REFUSED,
            ".h5",
            "pickle_load",
        ),
        "a Keras archive that is a checkpoint": (
            valid.keras_archive(None, None, **{"archive/data.pkl": EVIL}),
            STOPPED,
            ".keras",
            "torch_load",
        ),
        "a program (.pt2) that is a checkpoint": (
            valid.packed({**valid.members(valid.exported()), "archive/data.pkl": EVIL}),
            STOPPED,
            ".pt2",
            "torch_load",
        ),
        "PNG and a checkpoint": (
            b"\x89PNG\r\n\x1a\n" + bytes(30) + checkpoint(),
            REFUSED,
            ".pt",
            "torch_load",
        ),
        "PDF and a pickle": (b"%PDF-1.7\n" + EVIL, REFUSED, ".pkl", ""),
        "GGUF and a checkpoint": (b"GGUF" + bytes(30) + checkpoint(), REFUSED, ".pt", "torch_load"),
        "TFLite and a checkpoint": (valid.flat_graph() + checkpoint(), REFUSED, ".tflite", "torch_load"),
        "a script and a checkpoint": (
            f"#!/bin/sh\n{SHELL}\nexit\n".encode() + checkpoint(),
            REFUSED,
            ".pt",
            "torch_load",
        ),
        "JSON and a pickle": (b'{"weight_map": {}}' + EVIL, STOPPED, ".index.json", ""),
        "a pickle that is JSON": (b"V{}\n0" + EVIL[2:], REFUSED, ".json", "pickle_load"),
        "tar whose first name is a pickle": (
            _tar({"cos\nsystem\n(V" + SHELL + "\ntR.": b""}),
            REFUSED,
            ".pt",
            "pickle_load",
        ),
        "a web page and a pickle": (b"<!doctype html>" + EVIL, BROKEN, ".pt", ""),
    }
    return [
        Case(POLYGLOT, name, data, expected, suffix, loader)
        for name, (data, expected, suffix, loader) in contents.items()
    ]


def _size(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _places() -> list[Case]:
    names = (
        "--help{}.pkl",
        "-q{}.pkl",
        "--trust-code{}.pkl",
        "h{} $(sh).pkl",
        "h{}\n.pkl",
        "h{}\x1b[2J.pkl",
        "h{}\u202elkp.pkl",
        "h{}\ud83d.pkl",
        "h{}*.pkl",
        "h{}" + "x" * 180 + ".pkl",
    )
    found = [
        Case(PLACE, f"called {name[:20]!r}", EVIL, REFUSED, ".pkl", "pickle_load", file=name)
        for name in names
        if name.isascii() or "\ud83d" not in name
    ]
    special = {
        "a FIFO": os.mkfifo,
        "a link to /dev/zero": lambda path: Path(path).symlink_to("/dev/zero"),
        "a link to itself": lambda path: Path(path).symlink_to(Path(path).name),
        "a link to nothing": lambda path: Path(path).symlink_to("nothing"),
        "a link to /etc": lambda path: Path(path).symlink_to("/etc"),
        "a file that is 10 GB of nothing": _sparse,
        "an empty file": b"",
        "an empty folder": {},
    }
    return found + several(PLACE, special, BROKEN)  # type: ignore[arg-type]


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(10 << 30)
