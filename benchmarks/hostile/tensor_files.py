"""Safetensors whose headers lie, and metadata that asks for what no file may have."""

from __future__ import annotations

import json
import struct
from typing import Any

from benchmarks.hostile import valid
from benchmarks.hostile.case import BROKEN, READ, STOPPED, Case, several
from benchmarks.hostile.payload import EXPRESSION, pickled

FAMILY = "safetensors"


def file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def spec(**changes: Any) -> bytes:
    return valid.tensor_file({**valid.SPEC, **changes})


def cases() -> list[Case]:
    eight = bytes(8)
    lies = {
        "a header of exabytes": file({"a": entry()}, eight, (1 << 63) - 1),
        "a header of all bits": file({"a": entry()}, eight, (1 << 64) - 1),
        "a header beyond the end": file({"a": entry()}, eight, 4000),
        "a header of nothing": file(b"", eight),
        "a header cut short": file({"a": entry()}, eight, 20),
        "nine megabytes of header": file(b'{"a":' + b" " * (9 << 20) + b"1}"),
        "a header that is a list": file([entry()], eight),
        "a header that is no UTF-8": file(b'{"a\xff":{}}', eight),
        "a header of brackets": file(b"[" * 100_000),
        "objects a hundred thousand deep": file(b'{"a":' * 100_000),
        "a name twice": file(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            eight,
        ),
        "an unknown type": file({"a": entry("OBJECT")}, eight),
        "a type that is a number": file({"a": entry(7)}, eight),
        "a type with code": file({"a": entry(EXPRESSION)}, eight),
        "a shape of exabytes": file({"a": entry(shape=[1 << 61])}, eight),
        "a shape that wraps around": file({"a": entry(shape=[1 << 32, 1 << 32])}, eight),
        "a shape below nothing": file({"a": entry(shape=[-2])}, eight),
        "a shape of halves": file({"a": entry(shape=[0.5, 4])}, eight),
        "a shape of texts": file({"a": entry(shape=["2"])}, eight),
        "a thousand axes": file({"a": entry(shape=[1] * 1000 + [2])}, eight),
        "places in the wrong order": file({"a": entry(offsets=[8, 0])}, eight),
        "places below nothing": file({"a": entry(offsets=[-8, 0])}, eight),
        "places beyond the end": file({"a": entry(offsets=[8, 16])}, eight),
        "places that overlap": file({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
        "a gap": file({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
        "bytes of nobody": file({"a": entry()}, bytes(100)),
        "a pickle of nobody": file({"a": entry()}, eight + pickled()),
        "no places": file({"a": {"dtype": "F32", "shape": [2]}}, eight),
        "fields more": file({"a": {**entry(), "code": EXPRESSION}}, eight),
        "metadata of objects": file({"__metadata__": {"a": {"b": 1}}, "x": entry()}, eight),
        "numbers that are no numbers": file(
            b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', eight
        ),
        "sixty thousand tensors": file({f"t{n}": entry(shape=[0], offsets=[0, 0]) for n in range(60_000)}),
        "names that steer": file({"\x1b[2J\u202e\n": entry(offsets=[0, 9])}, eight),
        "a name of a megabyte": file({"a" * (1 << 20): entry(offsets=[0, 9])}, eight),
        "cut in its data": valid.tensor_file()[:-3],
    }
    asked = {
        "an architecture that is a function": spec(arch="os:system"),
        "an architecture that is a file": spec(arch="/tmp/evil.py:make"),
        "an architecture beside it": spec(arch="./evil.py:make"),
        "an architecture of code": spec(arch=EXPRESSION),
        "arguments of code": spec(arguments={"hidden": EXPRESSION}),
        "arguments that there are not": spec(arguments={"hidden": [5], "__class__": "x"}),
        "layers without end": spec(arch="cnn", arguments={"widths": [1] * 100_000, "depth": 0}),
        "a layer of gigabytes": spec(arguments={"hidden": [1 << 34]}),
        "inputs of gigabytes": spec(arch="cnn", input_shape=[3, 1 << 20, 1 << 20]),
        "a million classes": spec(classes=1_000_000),
        "classes below nothing": spec(classes=-1),
        "class names of megabytes": spec(class_names=["x" * (1 << 20)] * 3),
        "bounds that are no numbers": spec(bounds=["a", "b"]),
        "bounds turned around": spec(bounds=[1, 0]),
        "another version": spec(version=99),
        "metadata that is no JSON": _bare("{"),
        "metadata that is deep": _bare("[" * 100_000),
        "an activation of code": spec(arguments={"hidden": [5], "nonlinearity": EXPRESSION}),
    }
    unlike = (
        "a header of nothing",
        "a header that is a list",
        "a header of brackets",
    )  # no safetensors at all
    own = {
        name: asked.pop(name) for name in list(asked) if name.startswith(("an architecture", "class names"))
    }
    same = {"suffix": ".safetensors", "loader": "safetensors_load"}
    other = {name: lies.pop(name) for name in unlike}
    return [
        *several(FAMILY, lies, BROKEN, **same),
        *several(FAMILY, {**asked, **other}, STOPPED, **same),
        *several(FAMILY, own, READ, **same),  # as weights, for which a scan needs the user's own --arch
    ]


def _bare(text: str) -> bytes:
    from safetensors.torch import save

    return save(valid.state(), {"mmbd": text})
