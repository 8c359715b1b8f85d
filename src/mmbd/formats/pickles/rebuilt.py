"""The tensors of a pickle that has passed the allow list, handed to torch in a file written anew.

torch gets neither the pickle nor the archive that came: only a list of plain tensors over the
bytes of their storages, in its format before 1.6, which is no more than one part after another.
It reads them with `weights_only=True`; should anything but tensors ever get this far, that is the
second lock.
"""

from __future__ import annotations

import bisect
import io
import pickle
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mmbd.formats.pickles.stand_ins import Claim, Storage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
START = b"\x80\x02"


def fill(claims: Sequence[Claim], stored: Mapping[str, memoryview]) -> None:
    """Give the numbers in `stored`, by storage key, to the empty tensors of `claims`.

    Raises:
        pickle.UnpicklingError: torch's restricted reader finds what it does not allow.
    """
    used = list({claim.storage: None for claim in claims})
    keys = [str(number) for number in range(len(used))]
    numbered = dict(zip(used, keys, strict=True))
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}
    head = [
        *(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, system)),
        written(claims, numbered),
        pickle.dumps(keys, 2),
    ]
    body = (part for storage in used for part in (struct.pack("<q", storage.bytes), stored[storage.key]))
    stream: Any = io.BufferedReader(_Joined([*head, *body]))
    made = torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
    if type(made) is not list or len(made) != len(claims):
        raise ValueError("torch finds other tensors in the file than were written for it")
    for claim, tensor in zip(claims, made, strict=True):
        claim.place.set_(tensor)


def written(claims: Iterable[Claim], numbered: Mapping[Storage, str]) -> bytes:
    """A pickle of a list of these tensors, each over the bytes of its numbered storage."""
    items = b"".join(
        b"ctorch._utils\n_rebuild_tensor_v3\n("
        + b"("
        + _text("storage")
        + b"ctorch\nByteStorage\n"
        + _text(numbered[claim.storage])
        + _text("cpu")
        + _whole(claim.storage.bytes)
        + b"NtQ"
        + _whole(claim.offset)
        + _tuple(claim.size)
        + _tuple(claim.stride)
        + b"\x89ccollections\nOrderedDict\n)Rctorch\n"
        + claim.dtype.encode("ascii")
        + b"\ntR"
        for claim in claims
    )
    return START + b"](" + items + b"e."


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<L", len(value)) + value.encode("ascii")


def _whole(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _tuple(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_whole, values)) + b"t"


class _Joined(io.RawIOBase):
    """Reads several pieces of memory as one file, without a copy of them."""

    def __init__(self, parts: Iterable[bytes | memoryview]) -> None:
        self.parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self.starts = [0]
        for part in self.parts:
            self.starts.append(self.starts[-1] + len(part))
        self.position, self.index = 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self.position, self.starts[-1])[whence]
        self.position = min(max(start + offset, 0), self.starts[-1])
        self.index = max(bisect.bisect_right(self.starts, self.position) - 1, 0)
        return self.position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if self.position >= self.starts[-1]:
            return 0
        part = self.parts[self.index]
        begin = self.position - self.starts[self.index]
        piece = part[begin : begin + len(target)]
        target[: len(piece)] = piece
        self.seek(self.position + len(piece))
        return len(piece)
