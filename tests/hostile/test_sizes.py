"""Checkpoints that lie about sizes, or that are small and become large: no memory, no time."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mmbd
from hostile.handmade import WEIGHT, legacy, storage, tensor, text, whole, zipped
from hostile.limits import bounded
from mmbd.errors import Failed, NotEvaluable, Refused
from mmbd.load import allowed, checkpoints, vet
from mmbd.load.spec import METADATA_KEY, Spec, save


def load(path: Path, data: bytes) -> mmbd.Classifier:
    path.write_bytes(data)
    make = lambda: torch.nn.Linear(2, 2, bias=False)  # noqa: E731 (the factory under test)
    return mmbd.load(path, arch=make, input_shape=(2,)).classifier


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
    "terabytes by stride 0": (
        tensor(storage(4), (HUGE, 2), (0, 1)),
        "claims 2,251,799,813,685,248",
    ),
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
    "lists of themselves": (b"\x80\x02]q\x01h\x01a.", "no state dict"),
    "such a tuple as a key": (b"\x80\x02})" + b"q\x01h\x01\x86" * 200 + b"Ns.", "type tuple"),
    "a long text without end": (b"\x80\x02X\xff\xff\xff\xff" + b"x" * 1000, "cut short"),
    "a dictionary copied a thousand times": (
        b"\x80\x02]q\x01(" + b"]q\x02(K\x01Ne" * 50_000 + b"e0"
        + b"ccollections\nOrderedDict\nq\x030" + b"h\x03h\x01\x85R0" * 3000 + b"N.", "POP"),
    "the same, kept": (
        b"\x80\x02](]q\x01(" + b"](K\x01Ne" * 50_000 + b"eccollections\nOrderedDict\nq\x03"
        + b"h\x03h\x01\x85R" * 3000 + b"e.", "copies its contents too often"),
    "a text encoded a thousand times": (
        b"\x80\x02](" + text("x" * 200_000) + b"q\x01" + text("latin1")
        + b"q\x02c_codecs\nencode\nq\x03" + b"h\x03h\x01h\x02\x86R" * 1000 + b"e.", "too often"),
    "keys that share one hash": (
        b"\x80\x02}(" + b"".join(whole(i * ((1 << 61) - 1)) + b"N" for i in range(1, 50_000))
        + b"u.", "key of type int"),
    "another codec": (
        b"\x80\x02](c_codecs\nencode\n" + text("x" * 50_000) + text("punycode")
        + b"\x86Re.", "arguments that weights never have"),
    "a huge bytearray": (
        b"\x80\x02cbuiltins\nbytearray\n" + whole(HUGE) + b"\x85R.", "builtins.bytearray"),
    "an empty tensor of terabytes": (
        b"\x80\x02ctorch\nFloatTensor\n" + whole(HUGE) + b"\x85R.", "torch.FloatTensor"),
    "a meta tensor": (
        b"\x80\x02ctorch._utils\n_rebuild_meta_tensor_no_storage\n(NtR.", "meta_tensor"),
}  # fmt: skip


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
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001,
                                                {"little_endian": True}, {}, [])]  # fmt: skip
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
    monkeypatch.setattr(allowed, "MAX_TENSORS", 0)
    with pytest.raises(Failed, match="more than 0 tensors"):
        load(tmp_path / "m.pt", data)


def test_millions_of_opcodes_end_soon(tmp_path: Path) -> None:
    with bounded(30.0, megabytes=200), pytest.raises(Failed, match="operations"):
        load(tmp_path / "m.pt", zipped(b"\x80\x02" + b"]" * 20_000_000 + b"."))


def header(content: Any, length: int | None = None, data: bytes = b"") -> bytes:
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes}


@pytest.mark.parametrize(
    "data",
    [
        header(entry(), length=(1 << 63) - 1, data=WEIGHT),
        header(entry(), length=1 << 40, data=WEIGHT),
        header(entry(shape=[HUGE, 2]), data=WEIGHT),
        header(entry(shape=[1 << 63, 1 << 63]), data=WEIGHT),
        header(entry(shape=[-2, -2]), data=WEIGHT),
        header(entry(data_offsets=[0, 1 << 60]), data=WEIGHT),
        header(entry(data_offsets=[16, 0]), data=WEIGHT),
        header(entry(dtype="F99"), data=WEIGHT),
        header(entry() | {"again": entry()["weight"]}, data=WEIGHT),
        header(b'{"weight":' + b"[" * 100_000, data=WEIGHT),
        header(b'{"weight":\xff\xfe}', data=WEIGHT),
        header([entry()], data=WEIGHT),
        header({"__metadata__": {METADATA_KEY: {"a": 1}}} | entry(), data=WEIGHT),
        header({"__metadata__": [1]} | entry(), data=WEIGHT),
        header({}),
        header(entry(), data=WEIGHT + b"more"),
    ],
)
def test_safetensors_that_lie(data: bytes, tmp_path: Path) -> None:
    with bounded(megabytes=50), pytest.raises((Failed, Refused)):
        load(tmp_path / "m.safetensors", data)


def test_a_huge_header_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MAX_HEADER", 50)
    with pytest.raises(Failed, match="the limit is 50"):
        load(tmp_path / "m.safetensors", header(entry(), data=WEIGHT))


def described(path: Path, spec: str | dict[str, Any], **tensors: torch.Tensor) -> Path:
    """A safetensors file with this for its mmbd metadata."""
    content = spec if isinstance(spec, str) else json.dumps({"version": 1, **spec})
    save_file(tensors or {"w": torch.ones(3)}, path, metadata={METADATA_KEY: content})
    return path


MLP = {"arch": "mlp", "input_shape": [4], "classes": 3, "arguments": {}}


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "[1]",
        "[" * 50_000,
        "{}",
        {},
        {**MLP, "version": 99},
        {**MLP, "arch": "os:system"},
        {**MLP, "arch": "payload.py:main"},
        {**MLP, "arch": "no-such"},
        {**MLP, "arguments": {"hidden": [10**9]}},
        {**MLP, "arguments": {"hidden": [10**15, 10**15]}},
        {**MLP, "arguments": {"hidden": [1] * 200_000}},
        {**MLP, "arguments": {"hidden": [0] * 200_000}},
        {**MLP, "arguments": {"hidden": "wide"}},
        {**MLP, "arguments": {"hidden": [[8]]}},
        {**MLP, "arguments": {"hidden": [-8]}},
        {**MLP, "arguments": {"hidden": [1.5]}},
        {**MLP, "arguments": {"nonlinearity": 7}},
        {**MLP, "arguments": {"name": "mlp"}},
        {**MLP, "arguments": {"self": 1}},
        {**MLP, "arch": "cnn", "input_shape": [1, 8, 8], "arguments": {"depth": 10**9}},
        {**MLP, "arch": "cnn", "input_shape": [1, 8, 8],
         "arguments": {"depth": 10**9, "normalisation": "none", "widths": [1]}},
        {**MLP, "arch": "cnn", "input_shape": [1, 8, 8], "arguments": {"dropout": "a"}},
        {**MLP, "arch": "resnet8", "input_shape": [3, 32, 32], "arguments": {"width": 10**8}},
        {**MLP, "arch": "resnet8", "input_shape": [3, 32, 32], "arguments": {"width": 0}},
        {**MLP, "classes": 10**6},
        {**MLP, "classes": True},
        {**MLP, "classes": 10**400},
        {**MLP, "input_shape": [10**9]},
        {**MLP, "input_shape": [4.5]},
        {**MLP, "input_shape": [10**400]},
        {**MLP, "bounds": [0, 10**400]},
        {**MLP, "bounds": [1, 0]},
        {**MLP, "class_names": [1, 2, 3]},
        {**MLP, "unheard": 1},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_hostile_metadata_fails_fast(spec: str | dict[str, Any], tmp_path: Path) -> None:
    path = described(tmp_path / "m.safetensors", spec)
    with bounded(megabytes=100), pytest.raises(Failed, match=r"m\.safetensors: "):
        mmbd.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.5] * 7},
        {"std": [0.0]},
        {"std": [-1.0]},
        {"class_names": ["a"]},
        {"input_shape": (4, 1, 1, 1, 1, 1)},
        {"classes": 4},
        {"bounds": (0.0, 1e29), "mean": (-1e29,), "std": (1e-29,)},
    ],
)
def test_metadata_that_does_not_fit_its_own_weights(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    good = Spec("mlp", (4,), 3, {"hidden": (5,)})
    network = good.network()
    save(tmp_path / "m.safetensors", network, good)
    assert mmbd.load(tmp_path / "m.safetensors").classifier.classes == 3
    fields = {**json.loads(good.to_json()), **changes}
    described(tmp_path / "m.safetensors", fields, **network.state_dict())
    if changes == {"input_shape": (4, 1, 1, 1, 1, 1)}:
        assert mmbd.load(tmp_path / "m.safetensors").model.input_shape == (4, 1, 1, 1, 1, 1)
        return
    with pytest.raises((Failed, NotEvaluable)):
        mmbd.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("pixels", "megabytes"), [(5000, 20), (2000, 800)])
def test_an_input_that_would_become_gigabytes_inside(
    pixels: int, megabytes: float, tmp_path: Path
) -> None:
    """A small network of convolutions takes any size: the metadata must not choose terabytes."""
    small = Spec("resnet8", (3, 32, 32), 3, {"width": 4})
    network = small.network()
    described(
        tmp_path / "m.safetensors",
        {**json.loads(small.to_json()), "input_shape": [3, pixels, pixels]},
        **network.state_dict(),
    )
    with bounded(megabytes=megabytes), pytest.raises(Failed, match="need gigabytes"):
        mmbd.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("arch", "message"), [("mlp", "another shape"), ("cnn", "image shape")])
def test_another_architecture_on_the_files_input_shape(
    arch: str, message: str, tmp_path: Path
) -> None:
    """The user's architecture, but the file's own input: a first layer of a hundred gigabytes."""
    network = Spec("mlp", (4,), 3).network()
    fields = {**MLP, "arch": "resnet8", "input_shape": [10**8]}
    described(tmp_path / "m.safetensors", fields, **network.state_dict())
    with bounded(megabytes=50), pytest.raises(Failed, match=message):
        mmbd.load(tmp_path / "m.safetensors", arch=arch)


def test_a_class_count_that_costs_the_file_nothing(tmp_path: Path) -> None:
    """Shape (1000000000, 0) has no elements, and would make a last layer of terabytes."""
    state = Spec("mlp", (4,), 3, {"hidden": (5,)}).network().state_dict()
    state["3.weight"] = torch.empty(10**9, 0)
    save_file(state, tmp_path / "m.safetensors")
    with bounded(megabytes=50), pytest.raises(Failed, match=r"another shape: 3\.weight"):
        mmbd.load(
            tmp_path / "m.safetensors", arch="mlp", arch_args={"hidden": (5,)}, input_shape=(4,)
        )
