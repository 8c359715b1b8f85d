"""Arrays and texts of an HDF5 file that lies in memory: only what is wholly inside it, as plain data.

pyfive, which is pure Python, finds the objects; where their numbers are is checked here. Links to
elsewhere, external and virtual datasets, and filters are refused; every object is visited once, and
reads are counted, so that tables that go round in circles come to an end.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.extras import require
from mmbd.base.text import clean_text
from mmbd.formats.advice import broken, excessive

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS = 50_000
MOST_DEEP = 64
READS = 20  # a byte of the file may be read so many times
EXTERNAL, FILTERS = 0x07, 0x0B  # types of messages in an object's header
NOWHERE = (1 << 64) - 1
AGAIN = "save the model again with Keras, without compression, and scan that"


class _Counted:
    """Bytes as a file that can be read only so often, without a copy of them all."""

    closed = False

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0
        self.left = READS * len(data) + (1 << 22)

    def read(self, size: int | None = -1) -> bytes:
        end = len(self.data) if size is None or size < 0 else self.at + size
        found = bytes(self.data[self.at : end])
        self.at += len(found)
        self.left -= len(found) + 16
        if self.left < 0:
            raise excessive("the HDF5 file's tables lead in circles")
        return found

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        self.at = to + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: len(self.data)}[whence]
        if self.at < 0:
            raise ValueError(f"a place before the beginning: {self.at}")
        return self.at

    def tell(self) -> int:
        return self.at


class Hdf5:
    """An HDF5 file: its groups, texts and arrays, by path ("model_weights/conv2d").

    Args:
        data: all of the file.

    Raises:
        Failed: no HDF5 file, or a broken one.
        Refused: pyfive is not installed.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        try:
            pyfive = require("pyfive", extra="keras")
        except ImportError as error:
            raise Refused(f"the file is HDF5, or has such a file in it. {error}") from None
        self.data = memoryview(data)
        with _told("cannot be opened"):
            self._bytes = _Counted(self.data)
            self.file = pyfive.File(self._bytes)
            if self.file.userblock_size:
                raise Refused(f"the HDF5 file has a block before its beginning: {AGAIN}")
        self._seen: set[int] = set()
        self._groups: dict[str, Any] = {"/": self.file}

    def close(self) -> None:
        """Let go of the bytes, which pyfive's objects, holding each other, would keep for a while."""
        self._bytes.data = memoryview(b"")

    def attributes(self, path: str = "/") -> Mapping[str, Any]:
        """The attributes of a group: texts as text, lists of texts as lists; others as they come."""
        with _told(f"has unreadable attributes at {clean_text(path)}"):
            return {str(name): _text(value) for name, value in self._group(path).attrs.items()}

    def has(self, path: str) -> bool:
        """Whether there is such a group or array, by links inside the file alone."""
        with _told(f"is broken at {clean_text(path)}"):
            return self._group(path) is not None

    def _group(self, path: str) -> Any:
        """The object at a path; None where there is none."""
        if path not in self._groups:
            before, _, part = path.rpartition("/")
            group = self._group(before or "/")
            found = None
            if group is not None and part in getattr(group, "_links", ()):
                self._inside(group, part)
                found = group.get_lazy_view(part)
            self._groups[path] = found
        return self._groups[path]

    def arrays(self, path: str = "/") -> dict[str, Tensor]:
        """All arrays below a group by their paths from there: within the file's bytes, or copied if those
        cannot be written to.

        Raises:
            Refused: one that is not wholly in this file, or packed.
            Failed: one that claims more than there is, is no array of numbers, or is in two places.
        """
        found: dict[str, Tensor] = {}
        with _told("is broken"):
            for name, dataset in self._datasets(self._group(path), "", 0):
                found[name] = self._array(name, dataset)
        return found

    def _datasets(self, group: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
        if depth > MOST_DEEP:
            raise excessive(f"the HDF5 file has groups more than {MOST_DEEP} deep")
        for part in sorted(group._links):
            name = f"{prefix}{part}"
            address = self._inside(group, part)
            if address in self._seen or len(self._seen) >= MOST_OBJECTS:
                raise Failed(
                    f"the HDF5 file shows one object in two places, or too many, {clean_text(name)}: {AGAIN}"
                )
            self._seen.add(address)
            held = group.get_lazy_view(part)
            if hasattr(held, "id"):
                yield name, held
            elif hasattr(held, "_links"):
                yield from self._datasets(held, f"{name}/", depth + 1)
            else:
                raise Failed(
                    f"the HDF5 file has what Keras does not write in it, {clean_text(name)}: {AGAIN}"
                )

    def _inside(self, group: Any, part: str) -> int:
        """Where the object of this name is; Refused where that is not in this file."""
        address = group._links[part]
        if not isinstance(address, int):
            raise Refused(
                f"{clean_text(part)} in the HDF5 file is a link to elsewhere, which is not followed: {AGAIN}"
            )
        if "/" in part or part in ("", ".", ".."):
            raise broken(f"the HDF5 file has an object named {clean_text(part)!r}")
        header = self.file._get_dataobjects(address)
        if header.find_msg_type(EXTERNAL):
            raise Refused(f"the numbers of {clean_text(part)} are kept in other files, not read: {AGAIN}")
        if header.find_msg_type(FILTERS):
            raise Refused(f"the numbers of {clean_text(part)} are packed (HDF5 filters): {AGAIN}")
        return address

    def _array(self, name: str, dataset: Any) -> Tensor:
        """The numbers of a dataset, which must be as many as it claims."""
        shape: tuple[int, ...] = tuple(dataset.shape or ())
        kind, layout = dataset.dtype, dataset.id.layout_class
        said = clean_text(name)
        if (
            dataset.shape is None
            or not isinstance(kind, np.dtype)
            or kind.kind not in "fiub"
            or kind.itemsize > 8
        ):
            raise Failed(
                f"{said} in the HDF5 file is no array of numbers but {clean_text(str(kind))}: {AGAIN}"
            )
        size = math.prod(shape) * kind.itemsize
        if size > len(self.data) or len(shape) > 8:
            raise broken(f"{said} claims {size:,} bytes where the HDF5 file has {len(self.data):,}")
        if layout == 1 and size:
            start = int(dataset.id.data_offset)
            if start == NOWHERE or start + size > len(self.data):
                raise broken(f"the numbers of {said} are not in the HDF5 file: it was cut short")
            array = np.frombuffer(self.data[start : start + size], dtype=kind).reshape(shape)
        elif layout in (0, 1):
            array = np.asarray(dataset[()])
        elif layout == 2:
            self._require_chunks(said, dataset, shape)
            array = np.asarray(dataset[()])
        else:
            raise Refused(f"the numbers of {said} are kept in other files (a virtual dataset): {AGAIN}")
        if array.shape != shape:
            raise broken(f"{said} in the HDF5 file does not have the shape that it claims")
        if array.flags.writeable and array.flags.aligned and kind.isnative:
            return torch.from_numpy(array)  # in the bytes themselves, which are nobody else's
        return torch.from_numpy(np.array(array, dtype=kind.newbyteorder("="), order="C"))

    def _require_chunks(self, said: str, dataset: Any, shape: tuple[int, ...]) -> None:
        """Failed where chunks are missing, which would be read as zeros, or larger than the file."""
        chunks = tuple(dataset.chunks)
        if len(chunks) != len(shape) or min(chunks, default=0) < 1:
            raise broken(f"{said} in the HDF5 file has chunks that do not fit its shape")
        need = math.prod(-(-length // chunk) for length, chunk in zip(shape, chunks, strict=True))
        each = math.prod(chunks) * dataset.dtype.itemsize
        if need * each > 4 * len(self.data) or dataset.id.get_num_chunks() != need:
            raise broken(f"{said} claims chunks that are not in the HDF5 file")


class _told:  # noqa: N801
    """Turns whatever a parser of hostile bytes raises into `Failed`."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.quiet = warnings.catch_warnings()

    def __enter__(self) -> None:
        self.quiet.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.quiet.__exit__(kind, error, trace)
        if error is None or isinstance(error, Failed | Refused | MemoryError):
            return
        if isinstance(error, Exception):
            why = clean_text(f"{type(error).__name__} {error}", 100)
            if isinstance(error, AssertionError):  # what pyfive does not expect, without a word
                why = "something in it is not read here, such as a link to another file"
            raise broken(f"the HDF5 file {self.what} ({why})") from None


def _text(value: Any) -> Any:
    """An attribute as text or a list of texts, where it is one."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return [_text(each) for each in value.tolist()]
    return value
