"""NumPy's plain numbers and arrays beside weights are harmless and read; all else is not."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmbd
from helpers.handmade_checkpoints import WEIGHT, storage, tensor, text, whole, zipped
from mmbd.base.errors import Refused

HOMES = (b"numpy.core.multiarray", b"numpy._core.multiarray")
STATE = (3, "<", None, None, None, -1, -1, 0)


def encoded(value: str) -> bytes:
    """Bytes, as protocol 2 writes them."""
    return b"c_codecs\nencode\n" + text(value) + text("latin1") + b"\x86R"


def load(path: Path, data: bytes) -> mmbd.Classifier:
    path.write_bytes(data)
    arch = lambda: torch.nn.Linear(2, 2, bias=False)  # noqa: E731
    return mmbd.load(path, arch=arch, input_shape=(2,)).classifier


def built(
    *,
    kind: bytes = text("f8") + b"\x89\x88\x87",
    state: Any = STATE,
    number: bytes = text("\0\0\0\0\0\0\x08@"),
    home: bytes = HOMES[1],
) -> bytes:
    """A checkpoint of weights with a NumPy number beside them."""
    inner = pickle.dumps(state, 2)[2:-1]
    scalar = (
        b"c"
        + home
        + b"\nscalar\ncnumpy\ndtype\n"
        + kind
        + b"R"
        + inner
        + b"b"
        + b"c_codecs\nencode\n"
        + number
        + text("latin1")
        + b"\x86R\x86R"
    )
    weights = tensor(storage(4), (2, 2), (2, 1))
    envelope = b"\x80\x02}" + text("net") + weights[2:-1] + b"s" + text("best") + scalar + b"s."
    return zipped(envelope, **{"0": WEIGHT})


@pytest.mark.parametrize("old", [False, True])
def test_what_training_loops_leave_in_a_checkpoint(old, tmp_path):
    left = {
        "best": np.float64(0.93),
        "epoch": np.int64(7),
        "loss": np.float32(0.1),
        "half": np.float16(1),
        "done": np.bool_(True),
        "byte": np.uint8(3),
    }
    content = io.BytesIO()
    state = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    torch.save({"state_dict": state, **left}, content, _use_new_zipfile_serialization=not old)
    classifier = load(tmp_path / "m.pth", content.getvalue())
    assert classifier(torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 3.0]]


@pytest.mark.parametrize("home", HOMES)
def test_of_either_release(home, tmp_path):
    assert load(tmp_path / "m.pt", built(home=home)).classes == 2


OBJECT = text("O8") + b"\x89\x88\x87"
REFUSED = {
    "an object's type": built(kind=OBJECT),
    "an object": built(kind=OBJECT, state=(3, "|", None, None, None, -1, -1, 63)),
    "text": built(kind=text("U2") + b"\x89\x88\x87"),
    "a structure": built(kind=text("V8") + b"\x89\x88\x87"),
    "a type without a copy": built(kind=text("f8") + b"\x89\x89\x87"),
    "a type that is a list": built(kind=b"]" + text("a") + text("O8") + b"\x86a\x89\x88\x87"),
    "too short": built(number=text("ab")),
    "too long": built(number=text("a" * 9)),
    "fields": built(state=(3, "<", None, ("a",), {"a": (1, 0)}, 8, 1, 16)),
    "metadata": built(state=(*STATE, {"a": 1})),
    "no state": built(state=None),
    "a number as big as the state": built(state=(3, "<", None, None, None, -1, -1, 1 << 40)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_odd_is_refused(name, tmp_path):
    with pytest.raises(Refused):
        load(tmp_path / "m.pt", REFUSED[name])


def test_a_number_where_weights_should_be(tmp_path):
    content = io.BytesIO()
    torch.save({"weight": np.float64(1)}, content)
    with pytest.raises(mmbd.base.errors.Failed):
        load(tmp_path / "m.pt", content.getvalue())


ARRAYS = {
    "numbers": np.arange(50_000),
    "flags": np.zeros(50_000),
    "a square": np.eye(3, dtype=np.float32),
    "in columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "of no length": np.zeros((0, 3)),
    "of no dimension": np.array(7.0),
    "truths": np.array([True, False]),
    "bytes": np.arange(256, dtype=np.uint8),
    "complex": np.array([1 + 2j]),
    "halves": np.ones(3, np.float16),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_plain_arrays_beside_the_weights_are_read(name, old, tmp_path):
    content = io.BytesIO()
    state = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    torch.save(
        {"net": state, "curve": ARRAYS[name], "again": [ARRAYS[name]]},
        content,
        _use_new_zipfile_serialization=not old,
    )
    if not old:  # and as NumPy 1 calls it
        data = content.getvalue()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickled = archive.read("archive/data.pkl").replace(HOMES[1], HOMES[0])
        assert HOMES[0] in pickled
        raw = state["weight"].numpy().tobytes()
        assert load(tmp_path / "one.pt", zipped(pickled, **{"0": raw})).classes == 2
    classifier = load(tmp_path / "m.pt", content.getvalue())
    assert classifier(torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 3.0]]


def array(
    *,
    call: bytes = b"cnumpy\nndarray\n" + whole(0) + b"\x85" + encoded("b") + b"\x87",
    shape: bytes = whole(1) + b"\x85",
    kind: bytes = text("f8") + b"\x89\x88\x87",
    raw: bytes = encoded("\0" * 8),
    version: bytes = b"K\x01",
    order: bytes = b"\x89",
) -> bytes:
    """A checkpoint of weights with a NumPy array beside them."""
    inner = pickle.dumps(STATE, 2)[2:-1]
    made = (
        b"c"
        + HOMES[1]
        + b"\n_reconstruct\n"
        + call
        + b"R("
        + version
        + shape
        + b"cnumpy\ndtype\n"
        + kind
        + b"R"
        + inner
        + b"b"
        + order
        + raw
        + b"tb"
    )
    weights = tensor(storage(4), (2, 2), (2, 1))
    return zipped(
        b"\x80\x02}" + text("net") + weights[2:-1] + b"s" + text("curve") + made + b"s.", **{"0": WEIGHT}
    )


def test_the_array_made_by_hand_loads_when_it_is_honest(tmp_path):
    assert load(tmp_path / "m.pt", array()).classes == 2


ODD_ARRAYS = {
    "of objects": array(kind=text("O8") + b"\x89\x88\x87"),
    "of text": array(kind=text("U2") + b"\x89\x88\x87"),
    "of structures": array(kind=text("V8") + b"\x89\x88\x87"),
    "of dates": array(kind=text("M8") + b"\x89\x88\x87"),
    "larger than its bytes": array(shape=whole(1 << 50) + b"\x85"),
    "smaller than its bytes": array(raw=encoded("\0" * 9)),
    "a product beyond 64 bits": array(shape=b"(" + whole(1 << 40) * 3 + b"t"),
    "negative": array(shape=whole(-1) + whole(-1) + b"\x86"),
    "a shape of text": array(shape=text("a") + b"\x85"),
    "a shape that is a list": array(shape=b"](" + whole(1) + b"e"),
    "bytes that are a list": array(raw=b"]"),
    "bytes that are text": array(raw=text("\0" * 8)),
    "another version": array(version=b"K\x02"),
    "an order that is a number": array(order=b"K\x01"),
    "another class": array(call=b"cargparse\nNamespace\n" + whole(0) + b"\x85" + encoded("b") + b"\x87"),
    "a memory map": array(call=b"cnumpy\nmemmap\n" + whole(0) + b"\x85" + encoded("b") + b"\x87"),
    "made large at once": array(
        call=b"cnumpy\nndarray\n" + whole(1 << 40) + b"\x85" + encoded("b") + b"\x87"
    ),
    "made of objects": array(call=b"cnumpy\nndarray\n" + whole(0) + b"\x85" + encoded("O") + b"\x87"),
}


@pytest.mark.parametrize("name", ODD_ARRAYS)
def test_any_other_array_is_refused(name, tmp_path, monkeypatch):
    """Before NumPy could be asked for anything: nothing of it is called at all."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was reached"))
    with pytest.raises(Refused, match=r"weights never have|not on the allow list"):
        load(tmp_path / "m.pt", ODD_ARRAYS[name])


def test_an_array_where_weights_should_be(tmp_path):
    content = io.BytesIO()
    torch.save({"weight": np.eye(2, dtype=np.float32)}, content)
    with pytest.raises(mmbd.base.errors.Failed):
        load(tmp_path / "m.pt", content.getvalue())


def test_the_process_is_left_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())  # torch lists a set, in any order
    load(tmp_path / "m.pt", built())
    assert set(torch.serialization.get_safe_globals()) == before
