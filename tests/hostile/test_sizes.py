"""Checkpoints that lie about sizes, or that are small and become large: no memory, no time."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

import mmbd
from helpers.cost_limits import bounded
from helpers.handmade_checkpoints import WEIGHT, legacy, storage, tensor, text, whole, zipped
from mmbd.base.errors import Failed, Refused
from mmbd.formats.pickles import tensors, vet


def two_by_two() -> torch.nn.Module:
    return torch.nn.Linear(2, 2, bias=False)


def load(path: Path, data: bytes) -> mmbd.Classifier:
    path.write_bytes(data)
    return mmbd.load(path, arch=two_by_two, input_shape=(2,)).classifier


def test_the_hand_made_checkpoints_load_when_they_are_honest(tmp_path: Path) -> None:
    """So it is the lie, in the tests below, that is refused."""
    pickled = tensor(storage(4), (2, 2), (2, 1))
    for data in (
        zipped(pickled, **{"0": WEIGHT}),
        legacy(
            tensor(storage(4, last=b"N"), (2, 2), (2, 1)),
            b"\x80\x02]" + text("0") + b"a.",
            struct.pack("<q", 4) + WEIGHT,
        ),
    ):
        classifier = load(tmp_path / "m.pt", data)
        assert classifier(torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 3.0]]


HUGE = 1 << 50
LIES = {
    "more elements than stored": (tensor(storage(HUGE), (2, 2), (2, 1)), "should have"),
    "another type than stored": (tensor(storage(4, kind="DoubleStorage"), (2, 2), (2, 1)), "have"),
    "no such storage": (tensor(storage(4, key="7"), (2, 2), (2, 1)), "the file lacks it"),
    "negative count": (tensor(storage(-4), (2, 2), (2, 1)), "no size"),
    "beyond the storage": (tensor(storage(4), (3, 2), (2, 1)), "up to position 5"),
    "offset beyond": (tensor(storage(4), (2, 2), (2, 1), offset=HUGE), "up to position"),
    "negative offset": (tensor(storage(4), (2, 2), (2, 1), offset=-4), "negative"),
    "negative stride": (tensor(storage(4), (2, 2), (-2, 1), offset=2), "negative"),
    "stride beyond": (tensor(storage(4), (2, 2), (HUGE, 1)), "up to position"),
    "terabytes by stride 0": (tensor(storage(4), (HUGE, 2), (0, 1)), "claims 2,251,799,813,685,248"),
    "too many dimensions": (tensor(storage(4), (1,) * 99, (1,) * 99), "a shape that is none"),
    "fewer strides": (tensor(storage(4), (2, 2), (1,)), "strides"),
    "a product beyond 64 bits": (tensor(storage(4), (HUGE, HUGE, 2), (0, 0, 1)), "claims"),
    "a length beyond 64 bits": (tensor(storage(4), (1 << 200, 2), (0, 1)), "no integer"),
}


@pytest.mark.parametrize("lie", LIES)
def test_sizes_that_the_file_does_not_have(lie: str, tmp_path: Path) -> None:
    pickled, message = LIES[lie]
    with bounded(megabytes=5), pytest.raises(Failed, match=message):
        load(tmp_path / "m.pt", zipped(pickled, **{"0": WEIGHT}))


@pytest.mark.parametrize(
    ("elements", "keys", "raw", "message"),
    [
        (HUGE, ["0"], struct.pack("<q", HUGE) + WEIGHT, "cut short"),
        (4, ["0"], struct.pack("<q", 3) + WEIGHT, "does not have the 4 elements"),
        (4, ["0"], struct.pack("<q", 4) + WEIGHT[:-1], "cut short"),
        (4, [], b"", "not those that its tensors refer to"),
        (4, ["0", "0"], (struct.pack("<q", 4) + WEIGHT) * 2, "not those"),
        (4, ["0", "1"], (struct.pack("<q", 4) + WEIGHT) * 2, "not those"),
        (4, {"0": 1}, struct.pack("<q", 4) + WEIGHT, "no list of its storages"),
    ],
)
def test_old_files_with_false_storages(
    elements: int, keys: Any, raw: bytes, message: str, tmp_path: Path
) -> None:
    pickled = tensor(storage(elements, last=b"N"), (2, 2), (2, 1))
    with bounded(megabytes=5), pytest.raises(Failed, match=message):
        load(tmp_path / "m.pt", legacy(pickled, pickle.dumps(keys, 2), raw))


def test_one_storage_under_two_types(tmp_path: Path) -> None:
    """torch keeps the first; the second's size would never be compared."""
    two = storage(4) + b"0" + storage(8, kind="HalfStorage")
    with pytest.raises(Refused, match="POP"):
        load(tmp_path / "m.pt", zipped(tensor(two, (2, 2), (2, 1)), **{"0": WEIGHT}))
    pickled = b"\x80\x02](" + storage(4) + storage(8, kind="HalfStorage") + b"e."
    with pytest.raises(Failed, match="given two types or sizes"):
        load(tmp_path / "m.pt", zipped(pickled, **{"0": WEIGHT}))


# Each is some kilobytes, and would be more than a machine holds, or take ages.
EXPLOSIONS: dict[str, tuple[bytes, str]] = {
    "tuples of themselves": (b"\x80\x02)" + b"q\x01h\x01\x86" * 2000 + b".", "no state dict"),
    "mappings without end and without names": (
        b"\x80\x02" + (b"}" + text("")) * 100_000 + b"N" + b"s" * 100_000 + b".",
        "no state dict",
    ),
    "lists without end": (b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".", "no state dict"),
    "lists of themselves": (b"\x80\x02]q\x01h\x01a.", "no state dict"),
    "such a tuple as a key": (b"\x80\x02})" + b"q\x01h\x01\x86" * 200 + b"Ns.", "type tuple"),
    "a long text without end": (b"\x80\x02X\xff\xff\xff\xff" + b"x" * 1000, "cut short"),
    "a dictionary copied a thousand times": (
        b"\x80\x02]q\x01("
        + b"]q\x02(K\x01Ne" * 50_000
        + b"e0"
        + b"ccollections\nOrderedDict\nq\x030"
        + b"h\x03h\x01\x85R0" * 3000
        + b"N.",
        "POP",
    ),
    "the same, kept": (
        b"\x80\x02](]q\x01("
        + b"](K\x01Ne" * 50_000
        + b"eccollections\nOrderedDict\nq\x03"
        + b"h\x03h\x01\x85R" * 3000
        + b"e.",
        "copies its contents too often",
    ),
    "a text encoded a thousand times": (
        b"\x80\x02]("
        + text("x" * 200_000)
        + b"q\x01"
        + text("latin1")
        + b"q\x02c_codecs\nencode\nq\x03"
        + b"h\x03h\x01h\x02\x86R" * 1000
        + b"e.",
        "too often",
    ),
    "keys that share one hash": (
        b"\x80\x02}(" + b"".join(whole(i * ((1 << 61) - 1)) + b"N" for i in range(1, 50_000)) + b"u.",
        "key of type int",
    ),
    "another codec": (
        b"\x80\x02](c_codecs\nencode\n" + text("x" * 50_000) + text("punycode") + b"\x86Re.",
        "arguments that weights never have",
    ),
    "a huge bytearray": (b"\x80\x02cbuiltins\nbytearray\n" + whole(HUGE) + b"\x85R.", "builtins.bytearray"),
    "an empty tensor of terabytes": (
        b"\x80\x02ctorch\nFloatTensor\n" + whole(HUGE) + b"\x85R.",
        "torch.FloatTensor",
    ),
    "a meta tensor": (b"\x80\x02ctorch._utils\n_rebuild_meta_tensor_no_storage\n(NtR.", "meta_tensor"),
}


@pytest.mark.parametrize("name", EXPLOSIONS)
@pytest.mark.parametrize("old", [False, True])
def test_small_pickles_that_grow(name: str, old: bool, tmp_path: Path) -> None:
    pickled, message = EXPLOSIONS[name]
    wrapped = legacy(pickled) if old else zipped(pickled)
    with bounded(megabytes=150), pytest.raises((Failed, Refused), match=message):
        load(tmp_path / "m.pt", wrapped)


def test_such_a_tuple_in_every_place_of_an_old_file(tmp_path: Path) -> None:
    """Where a message might print it, which would take for ever."""
    bomb = b"\x80\x02)" + b"q\x01h\x01\x86" * 200 + b"."
    parts = [
        pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, [])
    ]
    for place in range(1, 5):
        changed = [bomb if index == place else part for index, part in enumerate(parts)]
        with bounded(), pytest.raises(Failed):
            load(tmp_path / "m.pt", b"".join(changed))
    with bounded(), pytest.raises(Refused, match="Python pickle"):
        load(tmp_path / "m.pt", bomb)


def test_limits_of_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(tensor(storage(4), (2, 2), (2, 1)), **{"0": WEIGHT})
    monkeypatch.setattr(vet, "MAX_OPERATIONS", 10)
    with pytest.raises(Failed, match="more than 10 operations"):
        load(tmp_path / "m.pt", data)
    monkeypatch.undo()
    monkeypatch.setattr(tensors, "MAX_TENSORS", 0)
    with pytest.raises(Failed, match="more than 0 tensors"):
        load(tmp_path / "m.pt", data)


def test_millions_of_opcodes_end_soon(tmp_path: Path) -> None:
    with bounded(30.0, megabytes=200), pytest.raises(Failed, match="operations"):
        load(tmp_path / "m.pt", zipped(b"\x80\x02" + b"]" * 20_000_000 + b"."))
