"""Calls and keys that are allowed since they are harmless, with arguments that are not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

import mmbd
from helpers.cost_limits import bounded
from helpers.handmade_checkpoints import legacy, storage, tensor, text, whole, zipped
from hostile.test_fuzz_pickles import F8, STORED, VALUE, WIDE
from mmbd.base.errors import Failed, Refused

PRIME = (1 << 61) - 1
DOUBLE = b"G"


def load(path: Path, data: bytes) -> mmbd.Classifier:
    path.write_bytes(data)
    arch = lambda: torch.nn.Linear(2, 2, bias=False)  # noqa: E731
    return mmbd.load(path, arch=arch, input_shape=(2,)).classifier


def beside(made: bytes) -> bytes:
    weights = tensor(storage(4), (2, 2), (2, 1))
    envelope = b"\x80\x02}" + text("net") + weights[2:-1] + b"s" + text("beside") + made + b"s."
    return zipped(envelope, **STORED)


def real(value: float) -> bytes:
    return DOUBLE + struct.pack(">d", value)


LAYOUT = b"ctorch.serialization\n_get_layout\n" + text("torch.sparse_coo") + b"\x85R"
SPARSE = b"ctorch._utils\n_rebuild_sparse_tensor\n" + LAYOUT
BYTEARRAY = b"c__builtin__\nbytearray\n"
NAMESPACE = b"cargparse\nNamespace\n"
PARAMETER = b"ctorch._utils\n_rebuild_parameter_with_state\n"
TYPED = b"ctorch._tensor\n_rebuild_from_type_v2\n("
V2 = b"ctorch._utils\n_rebuild_tensor_v2\n"
HONEST = {
    "sparse": SPARSE + b"(" + VALUE + VALUE + b"(" + whole(2) * 2 + b"t\x88t\x86R",
    "parameter": PARAMETER + b"(" + VALUE + b"\x88ccollections\nOrderedDict\n)R}tR",
    "a namespace": NAMESPACE + b")\x81}" + text("lr") + b"K\x01sb",
    "wide": WIDE,
    "bytes": BYTEARRAY + b"c_codecs\nencode\n" + text("a") + text("latin1") + b"\x86R\x85R",
    "five hundred odd keys": b"}(" + b"".join(real(i + 0.5) + b"N" for i in range(500)) + b"u",
}


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_ones_are_read(name: str, tmp_path: Path) -> None:
    assert load(tmp_path / "m.pt", beside(HONEST[name])).classes == 2


ODD = {
    "bytes as many as a number": BYTEARRAY + whole(1 << 40) + b"\x85R",
    "bytes of a list of numbers": BYTEARRAY + b"](K\x01e\x85R",
    "bytes of text in a codec": BYTEARRAY + text("a") + text("rot13") + b"\x86R",
    "a set of a text": b"c__builtin__\nset\n" + text("abc") + b"\x85R",
    "a set of lists": b"c__builtin__\nset\n](]e\x85R",
    "a set of itself": b"c__builtin__\nset\n]q\x05(h\x05e\x85R",
    "a complex number of text": b"c__builtin__\ncomplex\n" + text("1j") + b"\x85R",
    "a namespace with arguments": NAMESPACE + text("a") + b"\x85\x81",
    "a namespace that is called": NAMESPACE + b")R",
    "a namespace with slots": NAMESPACE + b")\x81N}\x86b",
    "another object": b"ctorch\nTensor\n)\x81",
    "an object of a storage": b"ctorch\nFloatStorage\n)\x81",
    "attributes of a tensor": VALUE + b"}" + text("grad_fn") + b"Nsb",
    "a tensor's legacy state": VALUE + b"(" + storage(4) + whole(0) + b"tb",
    "a parameter of a number": PARAMETER + b"(K\x01\x88N}tR",
    "a parameter with hooks": PARAMETER + b"(" + VALUE + b"\x88}K\x01Ns}tR",
    "a parameter whose hooks are a tensor": PARAMETER + b"(" + VALUE + b"\x88" + VALUE + b"}tR",
    "a type that is a call": TYPED + V2 + V2 + b")}tR",
    "a call of another thing": TYPED + b"c__builtin__\nset\nctorch\nTensor\n)}tR",
    "sparse with a tensor as flag": SPARSE + b"(" + VALUE * 2 + b"(" + whole(2) + b"t" + VALUE + b"t\x86R",
    "sparse of numbers": SPARSE + b"(NN(" + whole(2) + b"t\x88t\x86R",
    "sparse without a layout": b"ctorch._utils\n_rebuild_sparse_tensor\n"
    + text("torch.sparse_coo")
    + b"("
    + VALUE * 2
    + b"("
    + whole(2)
    + b"t\x88t\x86R",
    "an unknown layout": b"ctorch.serialization\n_get_layout\n" + text("__class__") + b"\x85R",
    "wide over typed numbers": WIDE.replace(b"torch.storage\nUntyped", b"torch\nFloat").replace(
        whole(16), whole(4)
    ),
    "wide of a type that is none": WIDE.replace(b"ctorch\nuint16\n", text("uint16")),
    "wide of another name": WIDE.replace(b"ctorch\nuint16\n", b"ctorch\nTensor\n"),
    "metadata that torch lacks": V2 + VALUE[len(V2) : -2] + b"}" + text("x") + b"\x88stR",
    "a number of a type alone": b"cnumpy.core.multiarray\nscalar\n" + F8 + VALUE + b"\x86R",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_arguments_never_get_to_torch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was reached"))
    for wrap in (beside, lambda made: legacy(b"\x80\x02](" + made + b"e.")):
        with bounded(megabytes=20), pytest.raises((Refused, Failed)):
            load(tmp_path / "m.pt", wrap(ODD[name]))


LIES = {
    "beyond the storage": WIDE.replace(whole(2) + b"\x85", whole(9) + b"\x85", 1),
    "no such bytes": WIDE.replace(whole(16), whole(1 << 40)),
}


@pytest.mark.parametrize("name", LIES)
def test_wide_tensors_that_claim_more_than_there_is(name: str, tmp_path: Path) -> None:
    with bounded(megabytes=20), pytest.raises(Failed, match=r"claims|should have"):
        load(tmp_path / "m.pt", beside(LIES[name]))


# Thousands of keys that share one hash would take hours.
COLLISIONS = {
    "floats": b"".join(real(float(k << 61)) + b"N" for k in range(1, 50_000)),
    "numbers that are complex": b"".join(
        b"c__builtin__\ncomplex\n" + real(0.5 + i) + real(0) + b"\x86RN" for i in range(50_000)
    ),
    "tuples": b"".join(whole(i) + b"\x85N" for i in range(50_000)),
}


@pytest.mark.parametrize("name", COLLISIONS)
def test_keys_that_could_share_a_hash_are_few(name: str, tmp_path: Path) -> None:
    data = beside(b"}(" + COLLISIONS[name] + b"u")
    with bounded(10.0, megabytes=100), pytest.raises(Failed, match="more than 1,000 keys"):
        load(tmp_path / "m.pt", data)


def test_also_in_sets_and_over_several_of_them(tmp_path: Path) -> None:
    some = b"c__builtin__\nset\n](" + b"".join(real(i + 0.5) for i in range(600)) + b"e\x85R"
    with bounded(10.0), pytest.raises(Failed, match="more than 1,000 keys"):
        load(tmp_path / "m.pt", beside(b"](" + some * 2 + b"e"))


@pytest.mark.parametrize(
    "key",
    [
        b"(" + b"K\x01" * 17 + b"t",
        b"(" + text("a" * 201) + b"t",
        whole(1 << 61) + b"\x85",
        b"]\x85",
        VALUE + b"\x85",
        VALUE,
    ],
)
def test_tuples_that_are_long_or_hold_more_are_no_keys(key: bytes, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a dictionary key of type"):
        load(tmp_path / "m.pt", beside(b"}" + key + b"Ns"))
