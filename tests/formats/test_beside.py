"""Whatever harmless things lie beside the weights, the weights are read, and right."""

from __future__ import annotations

import argparse
import collections
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import Failed, Refused
from mmbd.formats.table import contents

WEIGHT = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def with_attribute(made: Any) -> Any:
    made.no_decay = True
    return made


class Options(argparse.Namespace):
    """A class of somebody's own."""


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch calls these tensors a beta
    COMPRESSED = {
        "a sparse tensor by rows": torch.eye(2).to_sparse_csr(),
        "a sparse tensor by columns": torch.eye(2).to_sparse_csc(),
        "a sparse tensor of blocks": torch.eye(4).to_sparse_bsr((2, 2)),
    }
    QUANTISED = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)  # and these old
BESIDE: dict[str, Any] = {
    "float keys": {0.1: 93.0, float("nan"): 1},
    "tuple keys": {(3, 32): 1, ("a", (1.5, None)): 2},
    "None as a key": {None: 1},
    "truths as keys": {True: 1, False: 0},
    "bytes as keys": {b"a": 1},
    "complex keys": {1j: 1},
    "keys of NumPy": {np.int64(7): 1, np.float32(0.5): 2},
    "types as keys": {torch.float32: 1},
    "a set": {"a", 1, None, (1, 2)},
    "an empty set": set(),
    "a frozen set": frozenset({"a"}),
    "a complex number": 1j,
    "an array of bytes": bytearray(b"x\xff"),
    "an empty one": bytearray(),
    "no bytes": b"",
    "a parameter": nn.Parameter(torch.ones(2)),
    "a parameter with an attribute": with_attribute(nn.Parameter(torch.ones(2))),
    "a tensor with an attribute": with_attribute(torch.ones(2)),
    "a buffer": nn.Buffer(torch.ones(2)),
    "a sparse tensor": torch.eye(2).to_sparse(),
    "an empty sparse tensor": torch.zeros(2, 2).to_sparse(),
    **COMPRESSED,
    "an expanded tensor": torch.ones(1).expand(1000, 1000),
    "a conjugate": torch.ones(2, dtype=torch.complex64).conj(),
    "types": [torch.float16, torch.uint16, torch.float8_e5m2, torch.int4, torch.strided],
    "nested tuples": ((1, (2, (3, (None, True)))), []),
    "a NumPy type": np.dtype("float32"),
    "a Namespace": argparse.Namespace(lr=0.1, layers=[1, 2], device=torch.device("cpu")),
    "a counter": collections.Counter("aab"),
    "a size": torch.ones(2, 3).shape,
    "a large number": 1 << 1000,
}


def saved(value: Any, old: bool = False) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not old)
    return content.getvalue()


def load(path: Path, data: bytes, **options: Any) -> mmbd.Classifier:
    path.write_bytes(data)
    arch = lambda: nn.Linear(2, 2, bias=False)  # noqa: E731
    return mmbd.load(path, arch=arch, input_shape=(2,), **options).classifier


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", BESIDE)
def test_the_weights_are_read(name: str, old: bool, tmp_path: Path) -> None:
    classifier = load(tmp_path / "m.pt", saved({"net": {"weight": WEIGHT}, "b": BESIDE[name]}, old))
    assert torch.equal(classifier.model.weight, WEIGHT)


KINDS = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "uint16",
    "uint32",
    "uint64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "bool",
)


@pytest.mark.parametrize("dtype", [kind for kind in KINDS if "float" in kind])
def test_weights_of_every_type(dtype: str, tmp_path: Path) -> None:
    """As torch itself casts them."""
    weight = torch.tensor([[1.0, 0.0], [3.0, 4.0]]).to(getattr(torch, dtype))
    classifier = load(tmp_path / "m.pt", saved({"weight": weight}))
    assert torch.equal(classifier.model.weight, weight.float())


# torch cannot read the others back from its old format itself.
UNTYPED = ("uint16", "uint32", "uint64", "float8")


@pytest.mark.parametrize(
    ("dtype", "old"),
    [
        (dtype, old)
        for dtype in (*KINDS, "complex64", "complex128", "float8_e8m0fnu")
        if hasattr(torch, dtype)  # the last is not in every release
        for old in (False, True)
        if not (old and dtype.startswith(UNTYPED))
    ],
)
def test_tensors_come_out_as_torch_itself_reads_them(dtype: str, old: bool) -> None:
    whole = torch.arange(24.0).to(getattr(torch, dtype))
    value = {
        "all": whole,
        "part": whole[5:21].view(4, 4).T[1:, ::2],
        "empty": whole[:0],
        "one": whole[3],
        "again": whole,
    }
    data = saved(value, old)
    mine = contents(data, "torch legacy" if old else "zip").value
    theirs = torch.load(io.BytesIO(data), weights_only=True)
    assert list(mine) == list(theirs)
    for name, tensor in theirs.items():
        assert mine[name].dtype == tensor.dtype
        assert mine[name].stride() == tensor.stride()
        assert mine[name].tolist() == tensor.tolist()
    assert mine["again"].data_ptr() == mine["all"].data_ptr()  # what is shared stays shared
    assert mine["part"].untyped_storage().data_ptr() == mine["all"].untyped_storage().data_ptr()


def test_values_beside_keep_their_worth() -> None:
    value = {
        "epoch": np.int64(7),
        "best": np.float64(0.5),
        "done": np.bool_(True),
        "half": np.float16(0.25),
        "phase": np.complex64(1 + 2j),
        "seen": {"a", 2},
        "keys": {np.int64(9): (1, None)},
        "raw": bytearray(b"ab"),
        "z": 2j,
    }
    assert contents(saved(value), "zip").value == {
        "epoch": 7,
        "best": 0.5,
        "done": True,
        "half": 0.25,
        "phase": 1 + 2j,
        "seen": {"a", 2},
        "keys": {9: (1, None)},
        "raw": b"ab",
        "z": 2j,
    }


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (Options(lr=1), "Options"),
        (np.array(["a"], dtype=object), "numpy.dtype"),
        (np.array(["a"]), "numpy.dtype"),
        (QUANTISED, "a quantised tensor: save"),
        (collections.defaultdict(list), "collections.defaultdict"),
        (Path("x"), "pathlib"),
    ],
)
def test_what_is_refused_is_named(beside: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=said):
        load(tmp_path / "m.pt", saved({"net": {"weight": WEIGHT}, "b": beside}))


def test_a_sparse_weight_is_no_weight(tmp_path: Path) -> None:
    value = {"weight": WEIGHT.to_sparse(), "bias": torch.ones(2)}
    with pytest.raises(Failed, match="'weight' that is no tensor but SparseTensor"):
        load(tmp_path / "m.pt", saved(value))


@pytest.mark.parametrize(
    ("order", "said"),
    [("little", None), ("big", "a big-endian machine: save it again"), ("gittle", "none: download")],
)
def test_checkpoints_of_big_endian_machines_are_not_misread(
    order: str, said: str | None, tmp_path: Path
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({"weight": WEIGHT}))) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            new.writestr(name, order if name.endswith("byteorder") else old.read(name))
    if said is None:
        assert torch.equal(load(tmp_path / "m.pt", content.getvalue()).model.weight, WEIGHT)
        return
    with pytest.raises(Failed, match=said):
        load(tmp_path / "m.pt", content.getvalue())
