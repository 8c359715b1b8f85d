"""A trigger as JSON and named tensors, and back again; nothing that is read can run.

A trigger's class is named by its word in `TRIGGERS`, and its fields are read as the types that the
class declares; the class checks what they hold.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import torch
from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.base.reading import brief
from mmbd.base.text import clean_text
from mmbd.formats.spec import LARGEST
from mmbd.triggers import TRIGGERS
from mmbd.triggers.generated import TriggerNetwork, channels_last
from mmbd.triggers.trigger import Trigger

LARGEST_NETWORK = {"channels": 64, "outputs": 64, "width": 1024, "depth": 8, "sharp": 1}

KINDS = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)


def pack(trigger: Trigger, place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The JSON of a trigger; its tensors are added to `tensors`."""
    name = next((name for name, kind in TRIGGERS.items() if type(trigger) is kind.form), None)
    if name is None:
        raise TypeError(
            f"cannot save a trigger of class {type(trigger).__name__}; known: {', '.join(TRIGGERS)}"
        )
    packed: dict[str, Any] = {"type": name}
    for field, kind in get_type_hints(TRIGGERS[name].form).items():
        value, where = getattr(trigger, field), f"{place}.{field}"
        if kind is Tensor:
            tensors[where] = value
        elif kind is TriggerNetwork:
            packed[field] = value.arguments
            tensors |= {f"{where}.{key}": part for key, part in value.state_dict().items()}
        elif kind in (int, float):
            packed[field] = value
        else:
            packed[field] = [pack(part, f"{where}.{index}", tensors) for index, part in enumerate(value)]
    return packed


def unpack(packed: Any, place: str, tensors: dict[str, Tensor]) -> Trigger:
    """The trigger back; what it takes from `tensors` is gone from there."""
    name = packed.get("type") if isinstance(packed, dict) else None
    if not isinstance(name, str) or name not in TRIGGERS:
        raise Failed(f"unknown trigger {brief(name)}; known: {', '.join(TRIGGERS)}")
    fields: dict[str, Any] = {}
    for field, kind in get_type_hints(TRIGGERS[name].form).items():
        value, where = packed.get(field), f"{place}.{field}"
        if kind is Tensor:
            fields[field] = take_tensor(tensors, where)
        elif kind is TriggerNetwork:
            fields[field] = _trigger_network(value, where, tensors)
        elif kind in (int, float):
            fields[field] = _number(value, where)
        else:
            parts = value if isinstance(value, list) else []
            if any(isinstance(part, dict) and part.get("type") == name for part in parts):
                raise Failed(f"{where} holds triggers of its own kind, {name}")
            fields[field] = tuple(
                unpack(part, f"{where}.{index}", tensors) for index, part in enumerate(parts)
            )
    try:
        return TRIGGERS[name].form(**fields)
    except Exception as error:  # whatever tensors the file holds
        raise Failed(f"{place}: {error}") from None


def _number(value: Any, where: str) -> int | float:
    if type(value) not in (int, float) or not abs(value) < LARGEST:
        raise Failed(f"{where} must be a number, got {brief(value)}")
    return value


def take_tensor(tensors: dict[str, Tensor], name: str) -> Tensor:
    """Remove and return a tensor; Failed where it is missing or not finite."""
    if name not in tensors:
        raise Failed(f"the tensor {clean_text(name)} is missing")
    value = tensors.pop(name)
    if value.dtype not in KINDS:  # torch computes next to nothing with the others
        raise Failed(f"the tensor {clean_text(name)} holds {value.dtype}; expected float32 or whole numbers")
    if not bool(value.isfinite().all()):
        raise Failed(f"the tensor {clean_text(name)} holds values that are not finite numbers")
    return value


def _trigger_network(arguments: Any, place: str, tensors: dict[str, Tensor]) -> TriggerNetwork:
    limits = LARGEST_NETWORK
    if (
        not isinstance(arguments, dict)
        or set(arguments) != set(limits)
        or not all(type(value) in (int, bool) for value in arguments.values())
        or not all(key == "sharp" or 1 <= arguments[key] <= limits[key] for key in limits)
    ):
        raise Failed(f"{place} must have {', '.join(limits)}, each from 1 to {list(limits.values())}")
    with torch.device("meta"):  # no memory before the file has shown that it holds the weights
        network = TriggerNetwork(**arguments)
    weights = {name: take_tensor(tensors, f"{place}.{name}") for name in network.state_dict()}
    for name, expected in network.state_dict().items():
        given = weights[name]
        if (given.shape, given.dtype) != (expected.shape, expected.dtype):
            raise Failed(
                f"{place}.{name}: expected {tuple(expected.shape)} of {expected.dtype}, "
                f"got {tuple(given.shape)} of {given.dtype}"
            )
    network.load_state_dict(weights, assign=True)
    channels_last(network)
    return network.eval().requires_grad_(False)
