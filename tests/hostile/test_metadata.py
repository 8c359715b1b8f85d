"""safetensors files that lie, and files whose metadata describes what they cannot be."""

from __future__ import annotations

import inspect
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from helpers.cost_limits import bounded
from helpers.handmade_checkpoints import WEIGHT
from mmbd import nets
from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.formats import tensor_file
from mmbd.formats.networks import architecture
from mmbd.formats.spec import METADATA_KEY, Spec, save

HUGE = 1 << 50


def two_by_two() -> torch.nn.Module:
    return torch.nn.Linear(2, 2, bias=False)


def load(path: Path, data: bytes) -> mmbd.Classifier:
    path.write_bytes(data)
    return mmbd.load(path, arch=two_by_two, input_shape=(2,)).classifier


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
    monkeypatch.setattr(tensor_file, "MAX_HEADER", 50)
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
        {**MLP, "arch": "resnet" * 300_000},
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
        {
            **MLP,
            "arch": "cnn",
            "input_shape": [1, 8, 8],
            "arguments": {"depth": 10**9, "normalisation": "none", "widths": [1]},
        },
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
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_hostile_metadata_fails_fast(spec: str | dict[str, Any], tmp_path: Path) -> None:
    path = described(tmp_path / "m.safetensors", spec)
    with bounded(megabytes=100), pytest.raises(Failed, match=r"m\.safetensors: "):
        mmbd.load(path)


@pytest.mark.parametrize(
    "arguments",
    [
        {"widths": [1] * 300_000, "depth": 0},
        {"widths": [1] * 64, "depth": 0},
        {"widths": [1] * 64, "depth": -1},
        {"widths": [1] * 64, "depth": 10**9},
        {"widths": [], "depth": 10**9, "hidden": [1] * 64},
        {"widths": [0] * 64, "depth": 10**9},
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_weights_cost_nothing(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Poolings need no tensor in the file: a list of them grew to gigabytes."""
    spec = {"arch": "cnn", "input_shape": [1, 8, 8], "classes": 3, "arguments": arguments}
    path = described(tmp_path / "m.safetensors", spec)
    with bounded(seconds=5, megabytes=50), pytest.raises(Failed, match=r"m\.safetensors: "):
        mmbd.load(path)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("arch", nets.ARCHITECTURES)
def test_no_argument_of_any_network_costs_more_than_the_file(arch: str, tmp_path: Path) -> None:
    """Each at its largest, its smallest and of another kind, on a file with next to nothing."""
    known = inspect.signature(nets.ARCHITECTURES[arch].make).parameters
    shape = {"m5": [1, 8000], "dgcnn": [3, 4096], "pointnet": [3, 4096]}.get(arch, [3, 32, 32])
    values = [1 << 30, -(1 << 30), 0, [1 << 30] * 64, [0] * 64, [1] * 64, 1e29, "x" * 200, True]
    for key in set(known) - {"classes", "input_shape"}:
        for value in values:
            fields = {"input_shape": shape, "classes": 50_000, "arguments": {key: value}}
            path = described(tmp_path / "m.safetensors", {"arch": arch, **fields})
            with bounded(seconds=10, megabytes=100), pytest.raises(Failed, match="safetensors: "):
                mmbd.load(path)


def test_a_network_with_far_more_modules_than_tensors_is_stopped() -> None:
    made: list[nn.Module] = []

    def make() -> nn.Module:
        network = nn.Sequential()
        for index in range(100_000):
            made.append(nn.ReLU())
            network.add_module(str(index), made[-1])
        return network

    with pytest.raises(Failed, match=r"net, which has more than 1,024 modules, but it holds no mo"):
        architecture.build(make, "net", within=dict.fromkeys("abc", torch.ones(1)))
    assert len(made) == 1025
    assert len(list(architecture.build(make, "net").children())) == 100_000  # the user's own may


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
def test_metadata_that_does_not_fit_its_own_weights(changes: dict[str, Any], tmp_path: Path) -> None:
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
def test_an_input_that_would_become_gigabytes_inside(pixels: int, megabytes: float, tmp_path: Path) -> None:
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
def test_another_architecture_on_the_files_input_shape(arch: str, message: str, tmp_path: Path) -> None:
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
        mmbd.load(tmp_path / "m.safetensors", arch="mlp", arch_args={"hidden": (5,)}, input_shape=(4,))
