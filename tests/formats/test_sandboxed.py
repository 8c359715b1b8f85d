"""Files read in a sandbox: the same contents, the same errors, and nothing believed of what comes out."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from mmbd.base.errors import Failed, Refused
from mmbd.base.sandbox import client
from mmbd.formats import table
from mmbd.formats.beside import Beside
from mmbd.formats.format import Contents, Format
from mmbd.formats.pickles.arrays import NumpyArray
from mmbd.formats.pickles.stand_ins import Global, Namespace
from mmbd.formats.sandbox import packing, reading
from mmbd.formats.sandbox.unpacking import unpacked

STATE = nn.Linear(4, 3).state_dict()
linux = pytest.mark.skipif(not client.available(), reason=client.NO_SYSTEM)


def carried(value: Any, data: bytearray | bytes = b"", **more: Any) -> Contents:
    parts = packing.packed(Contents(value, "a format", None, **more), data)
    return unpacked(bytearray(b"".join(parts)), data)


def test_plain_data_comes_back_as_it_was() -> None:
    value = {
        "texts": ["a", "\ud800\x1b", ""],
        "numbers": (1, -2.5, 1 << 200, True, None, float("inf"), 3 - 4j),
        7: OrderedDict(a=b"\0\xff", b={1, 2}),
        ("a", 1): [[], {}, ()],
    }
    found = carried(value, notes=("a note\x1b",), aliases={"tied": "weight"})
    assert found.value == value
    assert [type(each) for each in found.value.values()] == [list, tuple, OrderedDict, list]
    assert found.notes == ("a note\\x1b",)
    assert found.aliases == {"tied": "weight"}


def test_not_a_number_and_stand_ins_come_back() -> None:
    loss, name, array, options = carried(
        [float("nan"), Global("torch.float32"), NumpyArray(), Namespace()]
    ).value
    assert loss != loss
    assert name == Global("torch.float32")
    assert (type(array), type(options)) == (NumpyArray, Namespace)


def test_what_is_shared_is_shared_again_and_may_hold_itself() -> None:
    shared: list[Any] = [1]
    value: dict[str, Any] = {"a": shared, "b": (shared, (shared,))}
    shared.append(value)
    found = carried(value).value
    assert found["a"] is found["b"][0] is found["b"][1][0]
    assert found["a"][1] is found


def test_deep_nesting_is_no_recursion() -> None:
    value: Any = "core"
    for _ in range(20_000):
        value = (value,)
    found = carried(value).value
    while type(found) is tuple:
        (found,) = found
    assert found == "core"


def test_tensors_keep_numbers_types_strides_and_what_they_share() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    value = {
        "base": base,
        "view": base.t()[1:],
        "tied": base,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.empty(0, 3, dtype=torch.int64),
        "one": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "spread": torch.ones(1).expand(5),
    }
    found = carried(value).value
    for name, tensor in value.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
        assert found[name].stride() == tensor.stride() or not tensor.numel()
    assert found["tied"] is found["base"]
    assert found["view"].untyped_storage().data_ptr() == found["base"].untyped_storage().data_ptr()
    found["base"][0, 0] = 5  # memory of its own, that may be written to


def test_tensors_in_the_file_itself_are_not_sent() -> None:
    data = bytearray(8000)
    parts = packing.packed(
        Contents({"a": torch.frombuffer(data, dtype=torch.float32, offset=80)}, "", None), data
    )
    assert sum(map(len, parts)) < 1000
    data[80:84] = b"\0\0\x80?"
    assert unpacked(bytearray(b"".join(parts)), data).value["a"][0] == 1


def test_large_tensors_that_the_file_holds_are_copied_from_it() -> None:
    torch.manual_seed(0)
    value = {name: torch.rand(2000) for name in "abc"}
    value |= {name: torch.zeros(2000) for name in ("zero", "none")}
    data = b"head" + b"|".join(tensor.numpy().tobytes() for tensor in value.values())
    value["other"] = torch.rand(2000)
    parts = packing.packed(Contents(value, "", None), data)
    assert sum(map(len, parts)) < 10_000
    found = unpacked(bytearray(b"".join(parts)), data).value
    assert all(torch.equal(found[name], tensor) for name, tensor in value.items())
    found["zero"][0] = 1
    assert not found["none"].any()


def test_what_is_no_plain_data_does_not_leave() -> None:
    for odd in (object(), torch.ones(2).to_sparse(), str, torch.float32):
        with pytest.raises(TypeError, match="no plain data"):
            packing.packed(Contents([odd], "", None), b"")


def message(**changes: Any) -> bytearray:
    parts = packing.packed(Contents({"a": torch.ones(4)}, "a format", None), b"")
    document = json.loads(bytes(parts[1])) | changes
    text = json.dumps(document).encode()
    start = bytes(-(8 + len(text)) % packing.ALIGNED)
    return bytearray(b"".join([packing.LENGTH.pack(len(text)), text, start, *parts[3:]]))


def tensor(*row: Any) -> dict[str, Any]:
    return {"nodes": [["T", *row]], "root": [0]}


HOSTILE: dict[str, bytearray] = {
    "nothing": bytearray(),
    "a huge document": bytearray(b"\xff" * 99),
    "no JSON": bytearray(packing.LENGTH.pack(3) + b"{}{"),
    "NaN": message(root=float("nan")),
    "infinity": message(nodes=[["l", float("inf")]]),
    "another document": message(more=1),
    "no nodes": message(nodes={}),
    "an unknown kind": message(nodes=[["call", "os.system"]]),
    "a stand-in that is none": message(nodes=[["x", "Contents"]]),
    "a stand-in with objects": message(nodes=[["x", "Global", [0]]]),
    "a node that is not there": message(root=[9]),
    "a negative one": message(root=[-1]),
    "an object": message(root={}),
    "a tuple of itself": message(nodes=[["t", [0]]]),
    "a key without a value": message(nodes=[["d", "a"]]),
    "a key that cannot be one": message(nodes=[["l"], ["d", [0], 1]]),
    "keys that cost": message(nodes=[["d", 1 << 70, 1]]),
    "a number as a float": message(nodes=[["f", "1e9999999"]]),
    "no bytes": message(nodes=[["b", "zz"]]),
    "a note that is none": message(notes=[1]),
    "aliases that are none": message(aliases=[]),
    "a format that is none": message(format=None),
    "too many parts": message(root=[0] * (9 << 20)),
    "deep": bytearray(packing.LENGTH.pack(200_000) + b"[" * 200_000),
    "a storage beyond the end": message(storages=[[1 << 40, 0, 0]]),
    "a storage of the file's": message(storages=[[16, 1, 0]]),
    "a storage before the start": message(storages=[[16, 0, -64]]),
    "a tensor beyond its storage": message(**tensor("float32", 0, 0, [5], [1])),
    "one that starts there": message(**tensor("float32", 0, 4, [1], [1])),
    "strides beyond it": message(**tensor("float32", 0, 0, [2, 2], [1 << 61, 1])),
    "negative strides": message(**tensor("float32", 0, 3, [2], [-1])),
    "a giant without strides": message(**tensor("float32", 0, 0, [1 << 40], [0])),
    "many dimensions": message(**tensor("float32", 0, 0, [1] * 99, [1] * 99)),
    "fewer strides": message(**tensor("float32", 0, 0, [2, 2], [1])),
    "another storage": message(**tensor("float32", 1, 0, [1], [1])),
    "no type": message(**tensor("load", 0, 0, [1], [1])),
    "a shape of texts": message(**tensor("float32", 0, 0, ["1"], ["1"])),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_is_a_failure_that_says_so(name: str) -> None:
    with pytest.raises(Failed, match="what came out of it is no answer"):
        unpacked(HOSTILE[name], b"")


def test_damaged_messages_give_contents_or_a_failure() -> None:
    chance = random.Random(0)
    whole = b"".join(packing.packed(Contents({"a": torch.ones(4), "b": [(1, b"x")]}, "f", None), b""))
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice(b'0123456789[]{},"tdlT-.e\xff')
        with suppress(Failed):
            unpacked(data, b"")


@pytest.fixture
def standing() -> Iterator[None]:
    reading.stand(forked=True)
    yield
    reading.leave()


def load(path: Path, **more: Any) -> mmbd.Classifier:
    return mmbd.load(path, arch=lambda: nn.Linear(4, 3), input_shape=(4,), **more).classifier


@linux
@pytest.mark.usefixtures("standing")
def test_files_load_as_without(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save({"state_dict": STATE, "loss": float("nan")}, tmp_path / "b.pt")
    torch.save(STATE, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    inputs = torch.rand(5, 4)
    for name in ("a.safetensors", "b.pt", "c.pt"):
        within, without = (load(tmp_path / name, sandbox=how) for how in (None, False))
        assert torch.equal(within(inputs), without(inputs))


@linux
@pytest.mark.usefixtures("standing")
def test_errors_have_the_same_words(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 3), tmp_path / "program.pt")
    stream = io.BytesIO()
    torch.save(STATE, stream)
    (tmp_path / "cut.pt").write_bytes(stream.getvalue()[:-99])
    for name, kind in (("program.pt", Refused), ("cut.pt", Failed)):
        told: list[str] = []
        for how in (None, False):
            with pytest.raises(kind) as raised:
                load(tmp_path / name, sandbox=how)
            told.append(str(raised.value))
        assert told[0] == told[1]


def read_with_another(data: bytes | bytearray, beside: Beside) -> Contents:
    other = beside.read(bytes(data[4:]).decode())
    return Contents({"other": torch.frombuffer(bytearray(other), dtype=torch.float32)}, "pair", None)


@linux
def test_files_beside_are_opened_outside_and_their_digests_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Format("a pair", (".pair",), lambda head: head.startswith(b"PAIR"), read_with_another)
    monkeypatch.setitem(table.FORMATS, "pair", row)
    (tmp_path / "data").write_bytes(STATE["bias"].numpy().tobytes())
    reading.stand(forked=True)  # after the row, which the sandbox has then, too
    try:
        for name in ("data", "../data", "none"):
            (tmp_path / "m.pair").write_bytes(b"PAIR" + name.encode().ljust(20, b" ").strip())
            file = reading.File(
                tmp_path / "m.pair", (tmp_path / "m.pair").read_bytes(), "", "pair", (), Beside(tmp_path)
            )
            if name == "data":
                found = reading.contents(file, None)
                assert torch.equal(found.value["other"], STATE["bias"])
                digest = hashlib.sha256((tmp_path / "data").read_bytes()).hexdigest()
                assert file.beside.digests == {"data": digest}
            else:
                with pytest.raises(Failed, match=r"plain name|not there"):
                    reading.contents(file, None)
    finally:
        reading.leave()


def test_where_there_is_none_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    monkeypatch.setattr(client, "available", lambda: False)
    reading.stand()
    try:
        loaded = mmbd.load(tmp_path / "a.safetensors", arch=lambda: nn.Linear(4, 3), input_shape=(4,))
    finally:
        reading.leave()
    assert any(note.startswith("read without a sandbox: no sandbox: ") for note in loaded.notes)
    with pytest.raises(Failed, match="no sandbox"):
        load(tmp_path / "a.safetensors", sandbox=True)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (("namespaces", "landlock for TCP ports"), []),
        (("namespaces", "landlock"), ["landlock"]),
        (("namespaces", "seccomp"), ["namespaces", "seccomp"]),
    ],
)
def test_a_report_names_locks_that_nothing_makes_up_for(missing: tuple[str, ...], told: list[str]) -> None:
    assert reading._unguarded(missing) == told


@linux
def test_a_sandbox_of_its_own_is_kept_and_made_again(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    reading._NOW.own = client.Sandbox(forked=True)
    first = reading._NOW.own
    load(tmp_path / "a.safetensors", sandbox=True)
    assert reading._NOW.own is first
    first.close()
    reading._NOW.own = None
