"""Honest files of a small network, to be damaged: each is read, and scanned in a moment.

The network has three classes, too few for a verdict: a scan of it ends with 3, never with 0 or 1.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from helpers.handmade_checkpoints import legacy, storage, text, whole, zipped

SHAPES = {"1.weight": (5, 4), "1.bias": (5,), "3.weight": (3, 5), "3.bias": (3,)}
SPEC: dict[str, Any] = {
    "version": 1,
    "arch": "mlp",
    "input_shape": [4],
    "classes": 3,
    "arguments": {"hidden": [5]},
}
SOON = ("--steps", "2", "--restarts", "1")
MLP = ("--arch", "mlp", "--arch-arg", "hidden=(5,)", "--input", "4", *SOON)


def state(seed: int) -> dict[str, Tensor]:
    """The weights, by name."""
    source = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=source) for name, shape in SHAPES.items()}


def tensor_file(tensors: Mapping[str, Tensor], spec: Any = None) -> bytes:
    """A safetensors file; `spec` is the metadata of mmbd, as JSON or to become it."""
    said = spec if isinstance(spec, str) else json.dumps(spec)
    return to_safetensors(dict(tensors), None if spec is None else {"mmbd": said})


def checkpoint(value: Any, old: bool = False) -> bytes:
    """As torch writes it; in the old format, its keys of storages are addresses."""
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not old)
    return content.getvalue()


def written(tensors: Mapping[str, Tensor], old: bool = False) -> bytes:
    """The same by hand, for float32: the same bytes every time, in the old format too."""
    pickled, last = b"\x80\x02}", b"N" if old else b""
    for key, (name, tensor) in enumerate(tensors.items()):
        sizes, strides = (
            b"(" + b"".join(map(whole, values)) + b"t" for values in (tensor.shape, tensor.stride())
        )
        stored = storage(tensor.numel(), str(key), last=last)
        pickled += (
            text(name)
            + b"ctorch._utils\n_rebuild_tensor_v2\n("
            + stored
            + whole(0)
            + sizes
            + strides
            + b"\x89ccollections\nOrderedDict\n)RtRs"
        )
    numbers = [tensor.numpy().tobytes() for tensor in tensors.values()]
    if not old:
        members = {str(key): data for key, data in enumerate(numbers)}
        return zipped(pickled + b".", **members)
    keys = b"\x80\x02](" + b"".join(text(str(key)) for key in range(len(numbers))) + b"e."
    storages = b"".join(struct.pack("<q", len(data) // 4) + data for data in numbers)
    return legacy(pickled + b".", keys, storages)


def files(seed: int) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Format -> (an honest file of it, what the user has to say of it)."""
    tensors = state(seed)
    return {
        "safetensors": (tensor_file(tensors, SPEC), SOON),
        "bare safetensors": (tensor_file(tensors), MLP),
        "torch zip": (checkpoint(tensors), MLP),
        "handmade zip": (written(tensors), MLP),
        "torch legacy": (written(tensors, old=True), MLP),
    }
