"""safetensors files that lie: about lengths, offsets, types and names, and about the network."""

from __future__ import annotations

import json
from typing import Any

from helpers.handmade_checkpoints import WEIGHT
from hostile.corpus import valid
from hostile.corpus.case import EITHER, FAILED, REFUSED, Case, several
from hostile.test_metadata import entry, header
from mmbd.formats.tensor_file import DTYPES, PACKED

KIND = "safetensors"
WORDS = "\x1b]0;owned\x07\u202e\u2066\r\n\x9b31m\u200b\ue000"
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    1.5,
    1e300,
    1 << 31,
    1 << 63,
    10**400,
    "",
    "a",
    WORDS,
    "é" * 300,
    [],
    [1],
    [-1],
    [0],
    [1 << 63],
    [10**400],
    [1.5],
    ["a"],
    [None],
    [[1]],
    [1] * 300,
    {},
    {"a": 1},
)
FIELDS = (
    "version",
    "arch",
    "input_shape",
    "classes",
    "arguments",
    "bounds",
    "mean",
    "std",
    "class_names",
    "domain",
    "limits",
    WORDS,
)


def cases(seed: int) -> list[Case]:
    again = b'{"weight":' + json.dumps(entry()["weight"]).encode()
    contents = {
        **{
            f"a header of {length:,} bytes": header(entry(), length, WEIGHT)
            for length in (1, 7, 60, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
        },
        **{
            f"shape {shape}": header(entry(shape=shape), data=WEIGHT)
            for shape in (
                [1 << 50, 2],
                [1 << 63, 1 << 63],
                [-2, -2],
                [2, 2.0],
                ["2", 2],
                None,
                {},
                4,
                [],
                [[2], 2],
                [True, 4],
                [10**400],
                [1] * 5000,
                [0, 1 << 62],
            )
        },
        **{
            f"offsets {offsets}": header(entry(data_offsets=offsets), data=WEIGHT)
            for offsets in (
                [0, 1 << 60],
                [16, 0],
                [-16, 0],
                [0],
                [0, 16, 32],
                [0.0, 16.0],
                None,
                "0,16",
                [4, 20],
                [1 << 63, (1 << 63) + 16],
                [0, 10**400],
                [0, 15],
            )
        },
        **{
            f"type {kind!r:.20}": header(entry(dtype=kind), data=WEIGHT)
            for kind in ("F99", "", None, 4, ["F32"], WORDS, "__class__", "f32", *sorted(PACKED))
        },
        "two tensors on the same bytes": header(entry() | {"b": entry()["weight"]}, data=WEIGHT),
        "tensors that overlap by half": header(
            entry() | {"b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}, data=WEIGHT + WEIGHT
        ),
        "a hole": header(
            entry() | {"b": {"dtype": "F32", "shape": [4], "data_offsets": [20, 36]}}, data=WEIGHT + bytes(20)
        ),
        "bytes after the end": header(entry(), data=WEIGHT + b"more"),
        "bytes missing": header(entry(), data=WEIGHT[:-1]),
        "a name twice": header(again + b"," + again[1:] + b"}", data=WEIGHT),
        "nested for ever": header(b'{"weight":' + b"[" * 100_000, data=WEIGHT),
        "nested objects": header(b'{"a":' * 100_000, data=WEIGHT),
        "no UTF-8": header(b'{"weight":\xff\xfe}', data=WEIGHT),
        "a lone surrogate": header(b'{"\\ud800":1}', data=WEIGHT),
        "an infinite number": header(b'{"weight":Infinity}', data=WEIGHT),
        "a number of 5,000 digits": header(b'{"weight":' + b"1" * 5000 + b"}", data=WEIGHT),
        "half a JSON": header(b'{"weight":{"dtype":"F3', data=WEIGHT),
        "an entry that is a number": header({"weight": 1}, data=WEIGHT),
        "an entry with a field more": header(entry(code="import os"), data=WEIGHT),
        "an entry with a field less": header({"weight": {"dtype": "F32"}}, data=WEIGHT),
        "metadata that is a list": header({"__metadata__": [1]} | entry(), data=WEIGHT),
        "metadata of numbers": header({"__metadata__": {"mmbd": 1}} | entry(), data=WEIGHT),
        "metadata that is nested": header({"__metadata__": {"mmbd": {}}} | entry(), data=WEIGHT),
        "no tensor": header({}),
        "spaces for a header": header(b"{" + b" " * 4_000_000 + b"}"),
        "a header of nine megabytes": header(b"{" + b" " * 9_000_000 + b"}"),
        "sixty thousand tensors": header(
            {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)}
        ),
        "a name of a megabyte": header({"x" * 1_000_000: entry()["weight"]}, data=WEIGHT),
        "a name that steers": header({WORDS: entry()["weight"]}, data=WEIGHT),
        "a name that steers and lies": header({WORDS: entry(shape=[9])["weight"]}, data=WEIGHT),
    }
    found = several(KIND, contents, FAILED, suffix=".safetensors")
    found.append(Case(KIND, "a list", header([entry()], data=WEIGHT), REFUSED, ".safetensors"))
    found += [
        Case(
            KIND,
            f"honest bytes as {kind}",
            header(entry(dtype=kind, shape=[16]), data=WEIGHT),
            FAILED,
            ".safetensors",
        )
        for kind in sorted(DTYPES)
    ]
    return found + _metadata(seed)


def _metadata(seed: int) -> list[Case]:
    """Words about the network on weights that fit: every field with every odd value."""
    tensors, found = valid.state(seed), list[Case]()

    def add(name: str, spec: Any, codes: frozenset[int] = EITHER) -> None:
        data = valid.tensor_file(tensors, spec)
        found.append(Case("metadata", name, data, codes, ".safetensors", valid.SOON))

    for field in FIELDS:
        for number, value in enumerate(ODD):
            add(f"{field!r:.20}, odd value {number}", valid.SPEC | {field: value})
    for key in ("hidden", "nonlinearity", "name", "self", "classes", "depth", WORDS):
        for number, value in enumerate(ODD):
            spec = valid.SPEC | {"arguments": {"hidden": [5], key: value}}
            add(f"argument {key!r:.20}, odd value {number}", spec)
    image = {"arch": "cnn", "input_shape": [1, 8, 8]}
    for name, spec in {
        "no JSON": "{",
        "no object": "[1]",
        "nothing": "",
        "nested": "[" * 50_000,
        "a program": valid.SPEC | {"arch": "os:system"},
        "a path": valid.SPEC | {"arch": "payload.py:main"},
        "two million letters": valid.SPEC | {"arch": "x" * 2_000_000},
        "poolings without end": valid.SPEC | image | {"arguments": {"widths": [1] * 64, "depth": 0}},
        "widths": valid.SPEC | image | {"arguments": {"widths": [1] * 300_000, "depth": 0}},
        "depth": valid.SPEC | image | {"arguments": {"widths": [1], "depth": 10**9}},
        "a million hidden layers": valid.SPEC | {"arguments": {"hidden": [1] * 1_000_000}},
        "a wide layer": valid.SPEC | {"arguments": {"hidden": [10**9]}},
        "a large input": valid.SPEC | {"input_shape": [10_000, 10_000]},
        "two classes": valid.SPEC | {"classes": 2},
        "fifty thousand classes": valid.SPEC | {"classes": 50_000},
        "bounds on no activation": valid.SPEC
        | {"activation_bounds": [{"name": "9", "index": 99, "fold": False}]},
        "bounds without numbers": valid.SPEC | {"limits": [{"name": "2", "index": 0, "fold": True}]},
        "bounds of a number that is too long": valid.SPEC
        | {"limits": [{"name": WORDS, "index": 10**400, "fold": False}]},
    }.items():
        add(name, spec, FAILED)
    for name, spec in {
        "names that steer": valid.SPEC | {"class_names": [WORDS, WORDS + "b", "\u202e"]},
        "names of a megabyte": valid.SPEC | {"class_names": ["x" * 1_000_000, "y", "z"]},
        "equal names": valid.SPEC | {"class_names": ["a", "a", "a"]},
        "names for others": valid.SPEC | {"class_names": ["a"] * 5},
        "a sliver of inputs": valid.SPEC | {"bounds": [0.49, 0.51]},
        "vast inputs": valid.SPEC | {"bounds": [-1e29, 1e29]},
        "a tiny deviation": valid.SPEC | {"mean": [0.0], "std": [1e-29]},
        "no deviation": valid.SPEC | {"mean": [0.0], "std": [0.0]},
        "a negative deviation": valid.SPEC | {"mean": [0.0], "std": [-1.0]},
        "another activation": valid.SPEC | {"arguments": {"hidden": [5], "nonlinearity": "tanh"}},
        "points": valid.SPEC | {"domain": "ball"},
    }.items():
        add(name, spec)
    return found
