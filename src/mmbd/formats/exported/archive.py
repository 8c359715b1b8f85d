"""A .pt2 archive -> a checked program and its weights. `torch.export.load` is never called: it runs code.

Three layouts are read: the one of torch since 2.9 (JSON and raw bytes), that of 2.8 (weights as a
checkpoint within), and the one before (checkpoints beside one JSON). Checkpoints go through the same
allow list as any other. Sample inputs, guards and expressions are left where they are.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from math import prod
from typing import Any

from mmbd.base.errors import Failed, Refused
from mmbd.base.reading import said
from mmbd.base.text import clean_text, listed
from mmbd.formats import archives, checkpoints, refusals
from mmbd.formats.advice import broken, excessive
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.exported import schema
from mmbd.formats.format import Contents

# The members that only such archives have: since 2.8, and before.
MEMBER = re.compile(
    rb"[^/]+/(?:data/(?:weights|constants|sample_inputs)/|models/|archive_format$)|serialized_"
)
SINGLE = "serialized_exported_program.json"
MAX_JSON = 64 << 20
MAX_TENSORS = 50_000
MAX_DIMENSIONS = 16
LIBRARIES = (".so", ".cubin", ".pte", ".cpp")
TITLE = "torch.export program (.pt2)"
# What makes torch.load or torch.jit.load take it for theirs, in whichever folder.
OTHER = re.compile(r"[^/]+/(?:data\.pkl|constants\.pkl|code/.*|\.data/extern_modules)")


def recognise(head: bytes) -> bool:
    """A zip whose first member is one that torch.export writes."""
    if not head.startswith(b"PK\x03\x04") or len(head) < 30:
        return False
    (length,) = struct.unpack("<H", head[26:28])
    return MEMBER.match(head[30 : 30 + length]) is not None


def read(data: bytes | bytearray, _: Beside = NOTHING) -> Contents:
    """The program as `schema.program` has it, with its `tensors` by the names that the inputs say."""
    data = bytes(data)
    infos = archives.members(data)
    try:
        spans = archives.spans(data, infos)
    except Refused as reason:
        raise broken(f"a damaged torch.export archive ({clean_text(str(reason), 200)})") from None
    names = set(spans)
    if native := sorted(name for name in names if name.endswith(LIBRARIES) or "/aotinductor/" in name):
        raise refusals.refusal(f"an archive of compiled code ({listed(native, most=3)})")
    if other := sorted(name for name in names if OTHER.fullmatch(name)):
        raise refusals.refusal(
            f"a torch.export archive and another one at once ({listed(other, most=3)})", refusals.ADVICE
        )
    members = _Members(data, spans)
    if SINGLE in names:
        program = schema.program(members.json(SINGLE))
        state = {**members.checkpoint("serialized_state_dict"), **members.checkpoint("serialized_constants")}
    else:
        folder = infos[0].orig_filename.partition("/")[0]
        models = sorted(name for name in names if re.fullmatch(r"[^/]+/models/[^/]+\.json", name))
        if not models:
            what = refusals.EXPORTED
            raise refusals.program(what, "it has no program in JSON", archives.pickled(data, infos), what)
        if len(models) != 1:
            raise Failed(
                f"the archive holds {len(models)} programs ({listed(models)}), expected one: export "
                "the classifier alone"
            )
        name = models[0].rpartition("/")[2].removesuffix(".json")
        program = schema.program(members.json(models[0]))
        state = {
            **members.tensors(f"{folder}/data/weights", f"{name}_weights_config.json", name),
            **members.tensors(f"{folder}/data/constants", f"{name}_constants_config.json", name),
        }
    wanted = [one["target"] for one in program["inputs"] if "target" in one]
    if missing := sorted(set(wanted) - set(state)):
        raise broken(f"the archive lacks the tensors {listed(missing)}, which its program takes")
    tensors = {key: value for key, value in state.items() if key in set(wanted)}
    return Contents({**program, "tensors": tensors}, TITLE, None)


class _Members:
    """The members of one archive, by name."""

    def __init__(self, data: bytes, spans: Mapping[str, tuple[int, int]]) -> None:
        self.data, self.spans = data, spans

    def bytes(self, name: str) -> memoryview:
        if name not in self.spans:
            raise broken(f"the archive lacks {clean_text(name, 80)}")
        start, end = self.spans[name]
        return memoryview(self.data)[start:end]

    def json(self, name: str) -> Any:
        raw = self.bytes(name)
        if len(raw) > MAX_JSON:
            raise excessive(f"{clean_text(name, 80)} has {len(raw):,} bytes, the limit is {MAX_JSON:,}")
        try:
            return json.loads(str(raw, "utf-8"))
        except RecursionError:
            raise broken(f"{clean_text(name, 80)} is nested too deeply") from None
        except ValueError as error:
            raise broken(f"{clean_text(name, 80)} is not JSON: {clean_text(said(error), 100)}") from None

    def checkpoint(self, stem: str) -> dict[str, Any]:
        """The tensors of a checkpoint within, as torch wrote them before 2.9; {} where there is none."""
        name = next((name for name in (f"{stem}.pt", f"{stem}.json") if name in self.spans), None)
        if name is None or not (raw := bytes(self.bytes(name))):
            return {}
        if not checkpoints.is_zip(raw):
            raise broken(f"{clean_text(name, 80)} is no checkpoint of torch")
        value = checkpoints.read_zip(raw).value
        return {key: item for key, item in value.items() if hasattr(item, "dtype")} if value else {}

    def tensors(self, folder: str, config: str, model: str) -> dict[str, Any]:
        """The tensors of a folder by its JSON, or by the one checkpoint that it was in 2.8."""
        if f"{folder}/{config}" not in self.spans:
            return self.checkpoint(f"{folder}/{model}")
        listing = self.json(f"{folder}/{config}")
        entries = listing.get("config") if isinstance(listing, dict) else None
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise broken(f"{clean_text(config, 80)} is not as torch writes it")
        if len(entries) > MAX_TENSORS:
            raise excessive(f"the archive has {len(entries):,} tensors, expected at most {MAX_TENSORS:,}")
        return {name: self.tensor(folder, name, entry) for name, entry in entries.items()}

    def tensor(self, folder: str, name: str, entry: Mapping[str, Any]) -> Any:
        """One tensor out of raw bytes, its sizes held against them."""
        import torch

        named = clean_text(name, 80)
        path, meta = entry.get("path_name"), entry.get("tensor_meta")
        if entry.get("use_pickle") or not isinstance(meta, dict):
            raise Refused(
                f"the archive keeps {named} as a pickle, which is a program. It was not loaded. Write it "
                "anew with torch.export.save, or save the network's weights alone, where you trust this file"
            )
        dtype = schema.DTYPES.get(meta.get("dtype", 0))
        if not isinstance(path, str) or dtype is None or meta.get("layout") != schema.STRIDED:
            raise broken(f"the archive's tensor {named} is of no kind that weights are")
        sizes, strides = (_numbers(meta.get(key), named) for key in ("sizes", "strides"))
        (offset,) = _numbers([meta.get("storage_offset")], named)
        raw = self.bytes(f"{folder}/{path}")
        kind = getattr(torch, dtype)
        held = len(raw) // kind.itemsize
        count = prod(sizes)
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=False))
        if len(sizes) != len(strides) or (count and last >= held) or count > held:
            raise broken(f"the archive's tensor {named} claims more than the {held:,} numbers that it has")
        if not count:
            return torch.zeros(sizes, dtype=kind)
        stored = torch.frombuffer(bytearray(raw), dtype=kind, count=held)
        return stored.as_strided(sizes, strides, offset)


def _numbers(raw: Any, named: str) -> tuple[int, ...]:
    """Sizes, strides or an offset: whole numbers that are not negative, as {"as_int": n}."""
    values: list[Any] = [
        item.get("as_int") if isinstance(item, dict) else None
        for item in (raw if isinstance(raw, list) else [None])
    ]
    plain = all(type(value) is int and 0 <= value < 1 << 40 for value in values)
    if len(values) > MAX_DIMENSIONS or not plain:
        raise broken(f"the archive's tensor {named} has sizes that are none")
    return tuple(values)
