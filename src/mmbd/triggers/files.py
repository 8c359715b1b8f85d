"""A backdoor as one safetensors file, next to the model it belongs to.

The tensors of the triggers and the poisoned indices are the file's tensors; everything else is
JSON in its `mmbd` metadata. Reading it runs nothing, and every value is checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.reading import MAX_CLASSES, brief
from mmbd.base.text import clean_text, listed
from mmbd.base.writing import whole
from mmbd.formats import own_files
from mmbd.formats.spec import METADATA_KEY
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.packing import pack, take_tensor, unpack
from mmbd.triggers.trigger import Trigger

VERSION = 1


def save(path: str | Path, backdoor: Backdoor) -> None:
    """Write triggers, sources, targets, poisoned indices and protocol, whole or not at all.

    Raises:
        TypeError: a trigger of a class that is not in `TRIGGERS`, or a protocol that is
            not JSON.
    """
    from safetensors.torch import save as to_bytes

    path = Path(path)
    triggers: list[Trigger] = []
    rows: list[tuple[int, int, int]] = []
    for source, trigger in backdoor.triggers.items():
        if not any(trigger is known for known in triggers):
            triggers.append(trigger)
        index = next(i for i, known in enumerate(triggers) if known is trigger)
        rows.append((source, index, backdoor.targets[source]))
    tensors = {"poisoned": backdoor.poisoned.to(torch.int64)}
    entry = {
        "version": VERSION,
        "kind": "backdoor",
        "triggers": [pack(trigger, f"trigger.{index}", tensors) for index, trigger in enumerate(triggers)],
        "sources": rows,
        "protocol": dict(backdoor.protocol),
    }
    try:
        text = json.dumps(entry, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the protocol of a backdoor must be JSON: {error}") from error
    # Copies: safetensors refuses tensors that share memory.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with whole(path, force=True) as file:
        file.write(to_bytes(copies, metadata={METADATA_KEY: text}))


def load(path: str | Path) -> Backdoor:
    """Read a file that `save` wrote; triggers are on the CPU.

    Raises:
        Failed: nothing there, not such a file, or anything in it that does not fit.
        Refused: a file of programs. Both are ValueErrors.
    """
    path = Path(path)
    try:
        found = own_files.contents(path)
        return _backdoor(_entry(found.metadata), dict(found.value))
    except (Failed, Refused) as error:
        raise type(error)(f"{clean_text(path.name)}: {error}") from error
    except RecursionError:
        raise Failed(f"{clean_text(path.name)}: the metadata is nested too deeply") from None


def _entry(text: str | None) -> dict[str, Any]:
    entry = own_files.metadata(text)
    if not isinstance(entry, dict) or entry.get("kind") != "backdoor":
        raise Failed("the file holds no backdoor: it was not written by attacks.files.save")
    if entry.get("version") != VERSION:
        version = brief(entry.get("version"))
        raise Failed(f"a backdoor of version {version}; this release reads {VERSION}")
    for name, kind in (("triggers", list), ("sources", list), ("protocol", dict)):
        if not isinstance(entry.get(name), kind):
            raise Failed(f"the backdoor has no {name}")
    return entry


def _backdoor(entry: dict[str, Any], tensors: dict[str, Tensor]) -> Backdoor:
    poisoned = take_tensor(tensors, "poisoned")
    if poisoned.dtype != torch.int64 or poisoned.ndim != 1 or bool((poisoned < 0).any()):
        raise Failed("the poisoned indices must be whole numbers from 0 in one row")
    triggers = [unpack(fields, f"trigger.{index}", tensors) for index, fields in enumerate(entry["triggers"])]
    if tensors:
        raise Failed(f"tensors that belong to no trigger: {listed(sorted(tensors))}")
    rows = entry["sources"]
    if not rows or not all(
        isinstance(row, list)
        and len(row) == 3
        and all(type(part) is int and 0 <= part < MAX_CLASSES for part in row)
        and row[1] < len(triggers)
        for row in rows
    ):
        raise Failed("sources must be rows of source class, number of the trigger, target class")
    if len({row[0] for row in rows}) < len(rows):
        raise Failed("a source class occurs twice")
    return Backdoor(
        {source: triggers[index] for source, index, _ in rows},
        {source: target for source, _, target in rows},
        poisoned,
        entry["protocol"],
    )
