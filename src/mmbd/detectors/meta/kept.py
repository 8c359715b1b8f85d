"""Shadow models as bytes, for the store; what comes from there is anybody's and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.reading import finite_number
from mmbd.formats import tensor_file
from mmbd.formats.spec import unshared
from mmbd.results.store import Stored

State = dict[str, Tensor]


@dataclass(frozen=True)
class Shadow:
    """A trained shadow model.

    Args:
        state: its weights and buffers by name, on the CPU.
        accuracy: on the clean samples that it was trained on.
        asr: how often its trigger works on them; None for one without a backdoor.
    """

    state: State
    accuracy: float
    asr: float | None = None


def to_stored(shadow: Shadow) -> tuple[str, bytes]:
    """What a store keeps: JSON text, and the bytes of a safetensors file."""
    from safetensors.torch import save

    return json.dumps({"accuracy": shadow.accuracy, "asr": shadow.asr}), save(unshared(shadow.state))


def from_stored(stored: Stored, like: Mapping[str, Tensor], *, backdoored: bool) -> Shadow | None:
    """The shadow model; None where it is broken, or not of these shapes and types, or not finite.

    Args:
        stored: as the store holds it.
        like: the state of a network of that architecture.
        backdoored: whether it must have a success rate.
    """
    try:
        said = json.loads(stored.value, parse_constant=finite_number, parse_float=finite_number)
        state = dict(tensor_file.read(stored.artifacts or b"").value)
    except (Failed, ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    accuracy, asr = _share(said.get("accuracy")), _share(said.get("asr"))
    if accuracy is None or (asr is not None) != backdoored:
        return None
    return Shadow(state, accuracy, asr) if fits(state, like) else None


def fits(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> bool:
    """Whether a state has the names, shapes and types of another, and holds finite numbers."""
    return state.keys() == like.keys() and all(
        value.shape == like[name].shape
        and value.dtype == like[name].dtype
        and bool(torch.isfinite(value).all())
        for name, value in state.items()
    )


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None
