"""safetensors files: the same tensors as its own library reads, held in the bytes of the file."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load as library
from safetensors.torch import save
from torch import nn

import mmbd
from helpers.cost_limits import bounded
from mmbd.base.errors import Failed
from mmbd.formats import files, tensor_file
from mmbd.formats.table import contents

KINDS = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}


def raw(header: Any, body: bytes = b"", pad: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_as_the_library_reads_it(kind: str) -> None:
    value = torch.arange(6.0).view(2, 3).to(KINDS[kind])
    data = save(
        {
            "a": value,
            "empty": value[:0],
            "one": value[1, 1].clone(),
            "odd": torch.ones(1, dtype=torch.uint8),
            "z": value.clone(),
        }
    )
    mine, theirs = contents(data, "safetensors").value, library(data)
    assert set(mine) == set(theirs)
    for name, tensor in theirs.items():
        assert (mine[name].dtype, mine[name].shape) == (tensor.dtype, tensor.shape)
        assert mine[name].tolist() == tensor.tolist()


@pytest.mark.parametrize("pad", range(9))
def test_numbers_that_lie_at_odd_places(pad: int) -> None:
    body = struct.pack("<4f", 1, 2, 3, 4)
    data = bytearray(raw({"w": entry("F32", [2, 2], 0, 16)}, body, pad))
    tensor = contents(data, "safetensors").value["w"]
    assert tensor.tolist() == [[1, 2], [3, 4]]
    assert tensor.data_ptr() % 4 == 0


def test_what_is_not_read_is_said() -> None:
    for kind in ("F4", "F6_E2M3"):
        with pytest.raises(Failed, match=f"'w' holds numbers of type {kind}, .* save the weights"):
            contents(raw({"w": entry(kind, [2], 0, 1)}, b"a"), "safetensors")


GOOD = entry("F32", [4], 0, 16)
BODY = bytes(16)
TEXT = json.dumps(GOOD).encode()
WRONG: dict[str, tuple[bytes, str]] = {
    "no JSON": (raw(b"{nothing", BODY), "not JSON"),
    "not text": (raw(b'{"\xff": 1}', BODY), "not JSON"),
    "a list": (raw([GOOD], BODY), "no JSON object"),
    "a name twice": (raw(b'{"w": %s, "w": %s}' % (TEXT, TEXT), BODY), "twice"),
    "a field twice": (raw(b'{"w": {"dtype": "F32", ' + TEXT[1:] + b"}", BODY), "twice"),
    "not a number": (raw(b'{"w": NaN}', BODY), "no number of JSON"),
    "metadata that is a number": (raw({"__metadata__": {"a": 1}, "w": GOOD}, BODY), "not text"),
    "metadata that is a list": (raw({"__metadata__": ["a"], "w": GOOD}, BODY), "not text"),
    "no entry": (raw({"w": 1}, BODY), "is not made of"),
    "fields more": (raw({"w": GOOD | {"x": 1}}, BODY), "is not made of"),
    "an unknown type": (raw({"w": GOOD | {"dtype": "F99"}}, BODY), "the type 'F99', which is none"),
    "a type that is a list": (raw({"w": GOOD | {"dtype": ["F32"]}}, BODY), "which is none"),
    "a true length": (raw({"w": GOOD | {"shape": [True, 4]}}, BODY), "a shape that is none"),
    "a length of a half": (raw({"w": GOOD | {"shape": [4.0]}}, BODY), "a shape that is none"),
    "negative": (raw({"w": GOOD | {"shape": [-4]}}, BODY), "a shape that is none"),
    "many dimensions": (raw({"w": GOOD | {"shape": [4] + [1] * 16}}, BODY), "shape that is none"),
    "another size": (raw({"w": GOOD | {"shape": [5]}}, BODY), "takes? others"),
    "backwards": (raw({"w": entry("F32", [0], 16, 0)}, BODY), "takes? others"),
    "a gap": (raw({"w": entry("F32", [3], 4, 16)}, BODY), "do not follow"),
    "an overlap": (raw({"w": GOOD, "v": entry("F32", [2], 8, 16)}, BODY), "do not follow"),
    "more than the file": (raw({"w": GOOD}, BODY[:-1]), "tensors take .* the file has"),
    "less than the file": (raw({"w": GOOD}, BODY + b"more"), "tensors take .* the file has"),
    "a length beyond torch": (raw({"w": entry("F32", [0, 1 << 61, 1 << 61], 0, 0)}), "is broken"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_header_that_does_not_add_up(name: str) -> None:
    data, said = WRONG[name]
    with pytest.raises(Failed, match=f"{said}.*: download it again, or ask whoever made it"):
        contents(data, "safetensors")


@given(st.dictionaries(st.text(max_size=4), st.sampled_from(list(KINDS)), max_size=5), st.data())
def test_any_names_and_shapes(kinds: dict[str, str], draw: st.DataObject) -> None:
    shapes = st.lists(st.integers(0, 3), max_size=4)
    state = {
        name: torch.ones(draw.draw(shapes)).to(KINDS[kind])
        for name, kind in kinds.items()
        if name != "__metadata__"
    }
    data = save(state, {"a": "b"})
    for name, tensor in contents(data, "safetensors").value.items():
        assert (tensor.dtype, tensor.shape) == (state[name].dtype, state[name].shape)
        assert tensor.tolist() == state[name].tolist()


def test_a_large_file_is_in_memory_once(tmp_path: Path) -> None:
    """200 MB of weights cost 200 MB until they are in a network; it was twice as much."""
    size = 200_000_000
    text = json.dumps({"w": entry("F32", [size // 4], 0, size)}).encode()
    (tmp_path / "m.safetensors").write_bytes(raw(text, pad=-len(text) % 8))
    os.truncate(tmp_path / "m.safetensors", (tmp_path / "m.safetensors").stat().st_size + size)
    with bounded(megabytes=230), pytest.raises(Failed, match="unexpected: w"):
        mmbd.load(tmp_path / "m.safetensors", arch=lambda: nn.Linear(4, 3), input_shape=(4,))


@pytest.mark.parametrize("header", [{"w": GOOD}, b"{nothing", {"w": entry("F32", [1], 0, 1 << 40)}])
def test_a_large_file_that_is_none_is_not_read(header: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw(header))
    os.truncate(path, 1 << 30)
    with bounded(2.0, megabytes=20), pytest.raises(Failed, match="the safetensors file is broken"):
        mmbd.load(path)


LARGEST = tensor_file.MAX_HEADER - 100
HEAVY = {
    "tensors without numbers": b",".join(
        b'"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(130_000)
    ),
    "numbers": b",".join(b'"%x":0' % i for i in range(LARGEST // 11)),
    "lists": b'"a":[' + b"[]," * (LARGEST // 3 - 10) + b"0]",
    "one list in another": b'"a":' + b"[" * (LARGEST - 10),
    "metadata": b'"__metadata__":{"a":"' + b"x" * (LARGEST - 30) + b'"}',
}


@pytest.mark.parametrize("name", HEAVY)
def test_the_heaviest_headers_cost_little(name: str, tmp_path: Path) -> None:
    data = raw(b"{" + HEAVY[name] + b"}")
    assert len(data) <= tensor_file.MAX_HEADER + 8
    (tmp_path / "m.safetensors").write_bytes(data)
    with bounded(15.0, megabytes=300), pytest.raises(Failed):
        mmbd.load(tmp_path / "m.safetensors", arch=lambda: nn.Linear(4, 3), input_shape=(4,))


def test_fifty_thousand_tensors_of_long_names_are_read() -> None:
    """The most that is allowed, with longer names than networks have."""
    names = [f"module.backbone.stages.3.blocks.{i:06d}.attention.weight" for i in range(50_000)]
    said = {name: entry("F32", [1, 1, 1, 1], 4 * i, 4 * i + 4) for i, name in enumerate(names)}
    data = raw(json.dumps(said, separators=(",", ":")).encode(), bytes(200_000))
    with bounded(15.0, megabytes=300):
        assert len(contents(bytearray(data), "safetensors").value) == 50_000


def test_the_file_that_is_hashed_is_the_one_that_is_read(tmp_path: Path) -> None:
    data = save({"w": torch.arange(4.0)})
    (tmp_path / "m").write_bytes(data)
    for large in (1 << 40, 0):
        file = files.read(tmp_path / "m") if large else _read_as_large(tmp_path / "m")
        assert bytes(file.data) == data
        assert contents(file.data, file.kind).value["w"].tolist() == [0, 1, 2, 3]


def _read_as_large(path: Path) -> files.File:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LARGE", 0)
        return files.read(path)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is bounded on Linux alone")
def test_within_a_bounded_address_space(tmp_path: Path) -> None:
    """A name bomb of 30 kB ends in its refusal, not in MemoryError, where memory is short."""
    program = (
        "import sys, mmbd, torch\n"
        "try:\n    mmbd.load('m.bin')\n"
        "except mmbd.base.errors.Refused as error:\n    print(error); sys.exit(3)\n"
    )
    text = b"X" + struct.pack("<L", 30 << 20) + b"a" * (30 << 20)
    names = b"".join(b"h\x00\x8c\x03" + b"%03d" % i + b"\x93" for i in range(900))
    (tmp_path / "m.bin").write_bytes(b"\x80\x04" + text + b"q\x00" + names + b".")
    limit = 3 << 30
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        timeout=600,
    )
    assert done.returncode == 3, done.stderr
    assert "aaa....000, aaa" in done.stdout
