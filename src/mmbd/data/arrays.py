"""Samples and labels from NumPy archives, whose headers are checked before anything is read."""

from __future__ import annotations

import math
from typing import Any, BinaryIO, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.reading import MAX_CLASSES
from mmbd.base.text import clean_text, listed
from mmbd.data.allowance import Allowance

Array = np.ndarray[Any, Any]


class Read(NamedTuple):
    """The samples of a file and their labels; `names` is None where classes have only numbers."""

    inputs: Tensor
    labels: Tensor
    names: tuple[str, ...] | None


class Header(NamedTuple):
    """The shape and the type that a member of an archive claims."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def npz(file: BinaryIO, allowance: Allowance, limit: int | None) -> Read:
    """The arrays x, y and perhaps names of an .npz archive.

    Raises:
        Failed: no archive, encrypted, without x or y, an array that is none of numbers, or one that
            claims more than the allowance or than the file holds.
        zipfile.BadZipFile, ...: whatever else is wrong with the archive.
    """
    with ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if not {"x", "y"} <= set(members):
            raise Failed(f"expected arrays x and y, found [{listed(map(repr, sorted(members)))}]")
        inputs = _array(archive, members["x"], "buif", allowance)[:limit]
        labels = numbers(_array(archive, members["y"], "buifUS", allowance), "y")[:limit]
        names = None
        if "names" in members:
            names = _names(_array(archive, members["names"], "USiu", allowance))
    try:
        return Read(torch.from_numpy(inputs), labels, names)
    except (TypeError, ValueError) as error:
        raise Failed(
            f"torch has no tensors of x's type, {inputs.dtype}: save it as float32 or uint8"
        ) from error


def _array(archive: ZipFile, info: ZipInfo, kinds: str, allowance: Allowance) -> Array:
    name = clean_text(info.filename)
    if info.flag_bits & 1:
        raise Failed(f"{name} is encrypted: write the archive without a password")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise Failed(f"{name} is compressed in a way that NumPy does not write: save it again")
    with archive.open(info) as member:
        header = _header(member, name)
    size = math.prod(header.shape) * header.dtype.itemsize
    if header.dtype.hasobject:
        raise Failed(
            f"{name} holds Python objects, which are programs and not read (allow_pickle=False): "
            "save plain numbers"
        )
    if header.dtype.kind not in kinds:
        raise Failed(f"{name} holds {clean_text(str(header.dtype))}; expected {_words(kinds)}")
    if not header.shape:
        raise Failed(f"{name} is a single value; expected an array with one entry a sample")
    if size > info.file_size:
        raise Failed(f"{name} claims {size:,} bytes and has {info.file_size:,}: the file is damaged")
    allowance.spend(size)
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _header(member: Any, name: str) -> Header:
    try:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
            version
        ]
        shape, _, dtype = read(member)
        if min(shape, default=0) < 0:
            raise ValueError("a negative length")
    except Exception as error:  # it parses words of whoever wrote the file as Python
        raise Failed(f"{name} is no NumPy array, or a damaged one") from error
    return Header(shape, dtype)


def _names(array: Array) -> tuple[str, ...]:
    if array.ndim != 1 or len(array) > MAX_CLASSES:
        raise Failed(
            f"names are an array of shape {array.shape}; expected one name a class, at most {MAX_CLASSES:,}"
        )
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return tuple(str(name) for name in array)


def numbers(labels: Array, what: str) -> Tensor:
    """Labels (n,) as int64, also from whole floating-point numbers.

    Raises:
        Failed: not one whole number a sample, or not a class from 0 below MAX_CLASSES.
    """
    whole = labels.dtype.kind in "biu" or (
        labels.dtype.kind == "f" and bool(np.isfinite(labels).all() and (labels % 1 == 0).all())
    )
    if labels.ndim != 1 or not whole:
        raise Failed(
            f"expected a whole number a sample as labels {what}, got {clean_text(str(labels.dtype))} "
            f"of {labels.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        raise Failed(
            f"labels run from {labels.min()} to {labels.max()}, expected classes numbered from 0, "
            f"at most {MAX_CLASSES:,} of them"
        )
    return torch.from_numpy(labels.astype(np.int64))


def _words(kinds: str) -> str:
    return "numbers" if "f" in kinds else "texts"
