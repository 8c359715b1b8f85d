"""NumPy numbers beside the weights are harmless and read; all else that NumPy pickles is not."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmbd
from hostile.handmade import WEIGHT, storage, tensor, text, zipped
from mmbd.errors import Refused

HOMES = (b"numpy.core.multiarray", b"numpy._core.multiarray")
STATE = (3, "<", None, None, None, -1, -1, 0)


def load(path: Path, data: bytes) -> mmbd.Classifier:
    path.write_bytes(data)
    arch = lambda: torch.nn.Linear(2, 2, bias=False)  # noqa: E731
    return mmbd.load(path, arch=arch, input_shape=(2,)).classifier


def built(*, kind: bytes = text("f8") + b"\x89\x88\x87", state: Any = STATE,
          number: bytes = text("\0\0\0\0\0\0\x08@"), home: bytes = HOMES[1]) -> bytes:  # fmt: skip
    """A checkpoint of weights with a NumPy number beside them."""
    inner = pickle.dumps(state, 2)[2:-1]
    scalar = (
        b"c" + home + b"\nscalar\ncnumpy\ndtype\n" + kind + b"R" + inner + b"b"
        + b"c_codecs\nencode\n" + number + text("latin1") + b"\x86R\x86R"
    )  # fmt: skip
    weights = tensor(storage(4), (2, 2), (2, 1))
    envelope = b"\x80\x02}" + text("net") + weights[2:-1] + b"s" + text("best") + scalar + b"s."
    return zipped(envelope, **{"0": WEIGHT})


@pytest.mark.parametrize("old", [False, True])
def test_what_training_loops_leave_in_a_checkpoint(old, tmp_path):
    left = {"best": np.float64(0.93), "epoch": np.int64(7), "loss": np.float32(0.1),
            "half": np.float16(1), "done": np.bool_(True), "byte": np.uint8(3)}  # fmt: skip
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
    with pytest.raises(mmbd.errors.Failed):
        load(tmp_path / "m.pt", content.getvalue())


def test_arrays_are_still_refused(tmp_path):
    content = io.BytesIO()
    torch.save({"weight": torch.zeros(2, 2), "curve": np.arange(3.0)}, content)
    with pytest.raises(Refused, match="_reconstruct"):
        load(tmp_path / "m.pt", content.getvalue())


def test_the_process_is_left_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())  # torch lists a set, in any order
    load(tmp_path / "m.pt", built())
    assert set(torch.serialization.get_safe_globals()) == before
