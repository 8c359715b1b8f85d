"""The checkpoints that torch.save writes, since 1.6 (zip) and before: bytes -> tensors. Runs nothing.

Two locks, one behind the other: our own allow list goes through every pickle first, then
`torch.load(weights_only=True)` reads the tensors that have passed, in a file written anew for it.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text
from mmbd.formats import archives
from mmbd.formats.advice import broken
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.format import Contents
from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.pickles import rebuilt
from mmbd.formats.pickles.stand_ins import Storages
from mmbd.formats.pickles.vet import vet
from mmbd.formats.refusals import program

TORCH_PROTOCOL = 1001


# What every torch checkpoint before 1.6 starts with, after the protocol: LONG1, the number, STOP.
MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."


def is_zip(head: bytes) -> bool:
    """A zip archive with something in it: what else it may be, `read_zip` sees."""
    return head.startswith(b"PK\x03\x04")


def is_legacy(head: bytes) -> bool:
    """A pickle that starts with torch's magic number."""
    return head[:1] == b"\x80" and head[2:].startswith(MAGIC)


def read_zip(data: bytes | bytearray, _: Beside = NOTHING) -> Contents:
    """A checkpoint of torch since 1.6, in exactly the layout that torch writes."""
    data = bytes(data)
    infos = archives.members(data)
    what = archives.foreign(infos)
    if what is not None:
        raise program(what, "only weights are read", archives.pickled(data, infos), what)
    name = "a PyTorch checkpoint (zip)"
    try:
        archive = archives.checkpoint(data, infos)
        storages = Storages(archive.sizes)
        value = vet(io.BytesIO(archive.pickle), storages)
    except Refused as reason:
        raise program(name, str(reason), archives.pickled(data, infos)) from None
    _fill(storages, data, archive.spans, name)
    return Contents(value, "PyTorch state dict (zip)", None)


def read_legacy(data: bytes | bytearray, _: Beside = NOTHING) -> Contents:
    """Magic number, protocol, system, object and storage keys, five pickles; then the storages."""
    data = bytes(data)
    name = "a PyTorch checkpoint (before 1.6)"
    stream = io.BytesIO(data[: pickles.MAX_BYTES])
    try:
        nothing = Storages({})
        _, protocol, system = (vet(stream, nothing) for _ in range(3))
        if type(protocol) is not int or protocol != TORCH_PROTOCOL:
            raise broken(f"the checkpoint's protocol is not {TORCH_PROTOCOL}")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Failed(archives.BIG_ENDIAN)
        storages = Storages(None)
        value = vet(stream, storages)
        keys = vet(stream, nothing)
    except Refused as reason:
        raise program(name, str(reason), [data]) from None
    spans = _spans(data, stream.tell(), keys, storages)
    _fill(storages, data, spans, name)
    end = max((end for _, end in spans.values()), default=stream.tell())
    notes: tuple[str, ...] = ()
    if end < len(data):
        notes = (f"{len(data) - end:,} bytes after the last tensor were not read",)
    return Contents(value, "PyTorch state dict (before 1.6)", None, notes)


def _spans(data: bytes, position: int, keys: Any, storages: Storages) -> dict[str, tuple[int, int]]:
    """Go along the raw storages (a count of elements, then the numbers): where each lies."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise broken("the checkpoint has no list of its storages")
    if sorted(keys) != sorted(storages.met):
        raise broken("the checkpoint's storages are not those that its tensors refer to")
    spans: dict[str, tuple[int, int]] = {}
    for key in keys:
        storage = storages.met[key]
        count = data[position : position + 8]
        if len(count) < 8 or position + 8 + storage.bytes > len(data):
            raise broken(f"the file is cut short: storage {key!r} is missing or incomplete")
        if struct.unpack("<q", count)[0] != storage.elements:
            raise broken(f"storage {key!r} does not have the {storage.elements:,} elements it claims")
        spans[key] = position + 8, position + 8 + storage.bytes
        position = spans[key][1]
    return spans


def _fill(storages: Storages, data: bytes, spans: Mapping[str, tuple[int, int]], name: str) -> None:
    """Have torch read the tensors that were met into the places kept for them."""
    view = memoryview(data)
    stored = {key: view[slice(*spans[key])] for key in storages.met}
    try:
        rebuilt.fill(storages.tensors, stored)
    except pickle.UnpicklingError as error:
        reason = f"torch's restricted reader refuses it too: {clean_text(str(error), 200)}"
        raise program(name, reason, []) from None
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        raise broken(f"torch cannot read the checkpoint: {clean_text(str(error), 200)}") from None
