"""HDF5 files that reach for other files, claim more than they hold, or unpack to gigabytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, REFUSED, STOPPED, Case
from benchmarks.hostile.payload import pickled

FAMILY = "HDF5"
KERNEL = "model_weights/dense/kernel:0"


def cases() -> list[Case]:
    found = [
        Case(FAMILY, name, _made(change), expected, ".h5", "keras_load")
        for name, (change, expected) in _changes().items()
    ]
    data = valid.keras_hdf5()
    plain: dict[str, tuple[bytes, str]] = {
        "no Keras in it": (_empty(), REFUSED),
        "a signature alone": (b"\x89HDF\r\n\x1a\n" + bytes(500), BROKEN),
        "cut in the middle": (data[: len(data) // 2], BROKEN),
        "cut at its end": (data[:-200], STOPPED),
        "an end beyond its end": (_end(data, 1 << 60), READ),
        "addresses of all bits": (data[:64] + b"\xff" * 32 + data[96:], BROKEN),
        "a block before its beginning": (pickled().ljust(512, b"\0") + data, STOPPED),
        "all texts are escapes": (data.replace(b"dense", b"\x1b[2J\n"), STOPPED),
        "a pickle as a text": (data.replace(b"keras_version", b"pickle_versio"), READ),
    }
    found += [
        Case(FAMILY, name, content, expected, ".h5", "keras_load")
        for name, (content, expected) in plain.items()
    ]
    return found + [
        Case(
            FAMILY,
            f"{name}, in an archive",
            valid.keras_archive(None, valid.arrays(change)),
            STOPPED,
            ".keras",
            "keras_load",
        )
        for name, change in _in_archive().items()
    ]


def _made(change: Callable[[Any], object]) -> bytes:
    return valid.keras_hdf5(None, change)


def _empty() -> bytes:
    import io

    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["x"] = np.ones(3)
    return content.getvalue()


def _end(data: bytes, value: int) -> bytes:
    return data[:40] + value.to_bytes(8, "little") + data[48:]


def _in_archive() -> dict[str, Callable[[Any], object]]:
    place = "layers/dense/vars/0"
    return {
        "numbers in another file": lambda file: _external(file, place),
        "a link to another file": lambda file: _link(file, place),
        "a virtual dataset": lambda file: _virtual(file, place),
        "packed numbers": lambda file: _packed(file, place, "gzip"),
    }


def _external(file: Any, place: str) -> None:
    del file[place]
    file.create_dataset(place, (4, 5), "f4", external=[("/etc/passwd", 0, 80)])


def _link(file: Any, place: str) -> None:
    import h5py

    del file[place]
    file[place] = h5py.ExternalLink("/tmp/other.h5", "/secret")


def _virtual(file: Any, place: str) -> None:
    import h5py

    del file[place]
    layout = h5py.VirtualLayout((4, 5), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "secret", (4, 5))
    file.create_virtual_dataset(place, layout)


def _packed(file: Any, place: str, kind: Any, shape: tuple[int, ...] = (4, 5), chunks: Any = True) -> None:
    del file[place]
    file.create_dataset(place, shape, "f4", np.zeros(shape, "f4"), compression=kind, chunks=chunks)


def _changes() -> dict[str, tuple[Callable[[Any], object], str]]:
    import h5py

    def soft(file: Any) -> None:
        del file[KERNEL]
        file[KERNEL] = h5py.SoftLink("/model_weights/dense/nowhere")

    def circle(file: Any) -> None:
        del file[KERNEL]
        file[KERNEL] = h5py.SoftLink(f"/{KERNEL}")

    def hard(file: Any) -> None:
        file["model_weights/dense/loop"] = file["model_weights"]

    def claimed(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (1 << 32, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))

    def objects(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (4, 5), h5py.special_dtype(vlen=str))

    def references(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (4, 5), h5py.ref_dtype)

    def compound(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (4, 5), np.dtype([("a", "f4"), ("b", "S100")]))

    def deep(file: Any) -> None:
        group = file["model_weights/dense"]
        for number in range(300):
            group = group.create_group(f"g{number}")
        group["x"] = np.ones(1, "f4")

    def many(file: Any) -> None:
        for number in range(1000):
            file[f"model_weights/dense/x{number}"] = np.float32(1)

    def opaque(file: Any) -> None:
        file["model_weights/dense"].attrs["code"] = np.void(pickled())

    def names(file: Any) -> None:
        file["model_weights"].attrs["layer_names"] = np.array([b"../../etc", b"dense_1"])

    def no_names(file: Any) -> None:
        file["model_weights"].attrs["layer_names"] = np.arange(3)

    def infinite(file: Any) -> None:
        file[KERNEL][...] = np.inf

    def filter_by_number(file: Any) -> None:
        _packed(file, KERNEL, "lzf")

    def description(file: Any) -> None:
        file.attrs["model_config"] = "[" * 60_000

    def no_text(file: Any) -> None:
        file.attrs["model_config"] = np.void(pickled())

    def split(file: Any) -> None:
        file["model_weights"].attrs["layer_names0"] = np.array([b"dense"])

    return {
        "numbers in another file": (lambda file: _external(file, KERNEL), REFUSED),
        "a link to another file": (lambda file: _link(file, KERNEL), STOPPED),
        "a virtual dataset": (lambda file: _virtual(file, KERNEL), REFUSED),
        "packed by gzip": (lambda file: _packed(file, KERNEL, "gzip"), REFUSED),
        "packed by lzf": (filter_by_number, REFUSED),
        "packed: 40 MB of zeros": (
            lambda file: _packed(file, KERNEL, "gzip", (1000, 10_000), (1000, 1000)),
            REFUSED,
        ),
        "a link to nothing": (soft, STOPPED),
        "a link to itself": (circle, STOPPED),
        "a group in itself": (hard, STOPPED),
        "numbers of exabytes": (claimed, STOPPED),
        "texts for numbers": (objects, STOPPED),
        "references for numbers": (references, STOPPED),
        "records for numbers": (compound, STOPPED),
        "three hundred groups deep": (deep, STOPPED),
        "a thousand arrays more": (many, READ),
        "a pickle as an attribute": (opaque, READ),
        "layers that lead out": (names, STOPPED),
        "layers that are numbers": (no_names, STOPPED),
        "infinite weights": (infinite, STOPPED),
        "a description of brackets": (description, BROKEN),
        "a description that is a pickle": (no_text, STOPPED),
        "names in parts": (split, READ),
    }
