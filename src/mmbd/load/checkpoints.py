"""The bytes of a file -> the tensors in it, with whatever envelope they came in. Runs nothing.

Two locks, one behind the other: our own allow list goes through every pickle first, then
`torch.load(weights_only=True)` reads the same bytes.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mmbd.errors import Failed, Refused
from mmbd.load import archives, formats, pickles
from mmbd.load.allowed import ALLOWED, NUMPY_BYTES, NUMPY_SCALARS, Storages
from mmbd.load.spec import METADATA_KEY
from mmbd.load.text import listed, shown
from mmbd.load.vet import vet

MAX_HEADER = 16 << 20
TORCH_PROTOCOL = 1001


@dataclass(frozen=True)
class Contents:
    """What a file holds: a mapping of tensors or an envelope around it, and `mmbd` metadata."""

    value: Any
    format: str
    metadata: str | None
    notes: tuple[str, ...] = ()


def contents(data: bytes, kind: formats.Kind) -> Contents:
    """Read the tensors of a file of this kind, all on the CPU.

    Raises:
        Refused: reading it would need code to run, with every global that the pickles name.
        Failed: broken, cut short, or sizes that do not add up.
    """
    if kind == "safetensors":
        return _safetensors(data)
    if kind == "zip":
        return _zip(data)
    if kind == "torch legacy":
        return _legacy(data)
    raise _refusal("a Python pickle that torch did not write", "a pickle is a program", [data])


def _safetensors(data: bytes) -> Contents:
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise Failed(
            f"the safetensors header claims {length:,} bytes, the file has {len(data):,}: "
            "it was cut short"
        )
    if length > MAX_HEADER:
        raise Failed(f"the safetensors header has {length:,} bytes, the limit is {MAX_HEADER:,}")
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.get("__metadata__") or {}
        entry = metadata.get(METADATA_KEY)
        tensors = load(data)
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        raise Failed(f"the safetensors file is broken: {shown(str(error), 200)}") from None
    if entry is not None and not isinstance(entry, str):
        raise Failed("the safetensors file is broken: its metadata is not text")
    return Contents(tensors, "safetensors", entry)


def _zip(data: bytes) -> Contents:
    infos = archives.members(data)
    what = archives.foreign(infos)
    if what is not None:
        raise _refusal(what, "only weights are read", archives.pickled(data, infos))
    name = "a PyTorch checkpoint (zip)"
    try:
        archive = archives.checkpoint(data, infos)
        vet(io.BytesIO(archive.pickle), Storages(archive.sizes))
    except Refused as reason:
        raise _refusal(name, str(reason), archives.pickled(data, infos)) from None
    return Contents(_torch_load(data, name), "PyTorch state dict (zip)", None)


def _legacy(data: bytes) -> Contents:
    """Magic number, protocol, system, object and storage keys, five pickles; then the storages."""
    name = "a PyTorch checkpoint (before 1.6)"
    stream = io.BytesIO(data[: pickles.MAX_BYTES])
    try:
        nothing = Storages({})
        _, protocol, system = (vet(stream, nothing) for _ in range(3))
        if protocol != TORCH_PROTOCOL:
            raise Failed(f"the checkpoint's protocol is not {TORCH_PROTOCOL}")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Failed("the checkpoint was written on a big-endian machine: save it again")
        storages = Storages(None)
        vet(stream, storages)
        keys = vet(stream, nothing)
    except Refused as reason:
        raise _refusal(name, str(reason), [data]) from None
    end = _storages_end(data, stream.tell(), keys, storages)
    notes: tuple[str, ...] = ()
    if end < len(data):
        notes = (f"{len(data) - end:,} bytes after the last tensor were not read",)
    return Contents(_torch_load(data, name), "PyTorch state dict (before 1.6)", None, notes)


def _storages_end(data: bytes, position: int, keys: Any, storages: Storages) -> int:
    """Go along the raw storages (a count of elements, then the numbers); returns where they end."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Failed("the checkpoint has no list of its storages")
    if sorted(keys) != sorted(storages.met):
        raise Failed("the checkpoint's storages are not those that its tensors refer to")
    for key in keys:
        storage = storages.met[key]
        count = data[position : position + 8]
        if len(count) < 8 or position + 8 + storage.bytes > len(data):
            raise Failed(f"the file is cut short: storage {key!r} is missing or incomplete")
        if struct.unpack("<q", count)[0] != storage.elements:
            raise Failed(
                f"storage {key!r} does not have the {storage.elements:,} elements it claims"
            )
        position += 8 + storage.bytes
    return position


def _torch_load(data: bytes, name: str) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_numpy()):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        reason = f"torch's restricted reader refuses it too: {shown(str(error), 200)}"
        raise _refusal(name, reason, []) from None
    except Exception as error:  # hostile bytes in somebody else's parser: anything may come
        raise Failed(f"torch cannot read the checkpoint: {shown(str(error), 200)}") from None


def _numpy() -> list[Any]:
    """What torch's reader needs to make the NumPy numbers that have passed our allow list."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    types = {type(np.dtype(kind)) for kind in NUMPY_BYTES}
    return [*((scalar, name) for name in NUMPY_SCALARS), np.dtype, *types]


def _refusal(what: str, reason: str, sources: Iterable[bytes]) -> Refused:
    """Name the format, the reason, all globals of the pickles in `sources`, and the way out."""
    names = pickles.names_in(sources)
    strange = [name for name in names.globals if name not in ALLOWED]
    known = [name for name in names.globals if name in ALLOWED]
    parts = [f"refused, and nothing in it was run: the file is {what}; {reason}"]
    if strange:
        parts.append(f"It names what is not on the allow list: {listed(strange, most=100)}")
    if known:
        parts.append(f"It also names what weights need: {listed(known, most=100)}")
    if not names.complete:
        parts.append("A pickle in it could not be read to its end, so there may be more")
    if any(name.startswith(("torch.nn.modules", "torch.nn.parallel")) for name in strange):
        parts.append("It holds a whole model and not only its weights")
    return Refused(". ".join([*parts, formats.ADVICE]))
