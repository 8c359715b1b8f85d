"""The bytes of a file -> the tensors in it, with whatever envelope they came in. Runs nothing.

Two locks, one behind the other: our own allow list goes through every pickle first, then
`torch.load(weights_only=True)` reads the tensors that have passed, in a file written anew for it.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats import archives, tensor_file
from mmbd.formats import identify as formats
from mmbd.formats.advice import NO_MEMORY, broken
from mmbd.formats.pickles import opcodes as pickles
from mmbd.formats.pickles import rebuilt
from mmbd.formats.pickles.allowed import ALLOWED
from mmbd.formats.pickles.stand_ins import Storages
from mmbd.formats.pickles.vet import vet
from mmbd.formats.spec import METADATA_KEY

TORCH_PROTOCOL = 1001


@dataclass(frozen=True)
class Contents:
    """What a file holds: a mapping of tensors or an envelope around it, and `mmbd` metadata.

    `aliases` are names of tensors that the file leaves out, as they are others: name -> that one.
    """

    value: Any
    format: str
    metadata: str | None
    notes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])


def contents(data: bytes | bytearray, kind: formats.Kind) -> Contents:
    """Read the tensors of a file of this kind, all on the CPU.

    Those of a safetensors file lie in `data` itself if that is a bytearray.

    Raises:
        Refused: reading it would need code to run, with every global that the pickles name.
        Failed: broken, cut short, or sizes that do not add up; the message says what to do.
    """
    try:
        return _contents(data, kind)
    except MemoryError:
        raise Failed(NO_MEMORY) from None


def _contents(data: bytes | bytearray, kind: formats.Kind) -> Contents:
    if kind == "safetensors":
        return _safetensors(data if isinstance(data, bytearray) else bytearray(data))
    data = bytes(data)
    if kind == "zip":
        return _zip(data)
    if kind == "torch legacy":
        return _legacy(data)
    raise _refusal("a Python pickle that torch did not write", "a pickle is a program", [data])


def _safetensors(data: bytearray) -> Contents:
    try:
        header = tensor_file.read_header(data, len(data))
        tensors = tensor_file.tensors(data, header)
    except (Failed, MemoryError):
        raise
    except Exception as error:  # hostile numbers in torch's hands: anything may come
        raise broken(f"the safetensors file is broken: {clean_text(str(error), 200)}") from None
    entry = header.metadata.get(METADATA_KEY)
    return Contents(tensors, "safetensors", entry, aliases=header.aliases)


def _zip(data: bytes) -> Contents:
    infos = archives.members(data)
    what = archives.foreign(infos)
    if what is not None:
        raise _refusal(what, "only weights are read", archives.pickled(data, infos), what)
    name = "a PyTorch checkpoint (zip)"
    try:
        archive = archives.checkpoint(data, infos)
        storages = Storages(archive.sizes)
        value = vet(io.BytesIO(archive.pickle), storages)
    except Refused as reason:
        raise _refusal(name, str(reason), archives.pickled(data, infos)) from None
    _fill(storages, data, archive.spans, name)
    return Contents(value, "PyTorch state dict (zip)", None)


def _legacy(data: bytes) -> Contents:
    """Magic number, protocol, system, object and storage keys, five pickles; then the storages."""
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
        raise _refusal(name, str(reason), [data]) from None
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
        raise _refusal(name, reason, []) from None
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        raise broken(f"torch cannot read the checkpoint: {clean_text(str(error), 200)}") from None


def _refusal(what: str, reason: str, sources: Iterable[bytes], foreign: str = "") -> Refused:
    """Name the format, the reason, all globals of the pickles in `sources`, and the way out."""
    names = pickles.names_in(sources)
    strange = [name for name in names.globals if name not in ALLOWED]
    known = [name for name in names.globals if name in ALLOWED]
    parts = [f"refused, and nothing in it was run: the file is {what}; {reason}"]
    if strange:
        parts.append(f"It names what is not on the allow list: {_some(strange, 800)}")
    if known:
        parts.append(f"It also names what weights need: {_some(known, 200)}")
    if not names.complete:
        parts.append("A pickle in it could not be read to its end, so there may be more")
    if any(name.startswith(("torch.nn.modules", "torch.nn.parallel")) for name in strange):
        parts.append("It holds a whole model and not only its weights")
    torchs = foreign or any(name.startswith("torch") for name in names.globals)
    told = formats.advice(foreign) if torchs or "PyTorch" in what else formats.IF_TORCH
    return Refused(". ".join([*parts, told]))


def _some(names: list[str], room: int) -> str:
    """As many as leave room for what to do, which stands behind them."""
    return listed(names, most=100, room=room)
