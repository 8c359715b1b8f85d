"""What every row of FORMATS has to do. A new format needs a sample here."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

import mmbd
from helpers import exported_programs, keras_models, onnx_files
from mmbd import formats
from mmbd.base.errors import Failed
from mmbd.formats.beside import NOTHING, Beside
from mmbd.formats.identify import identify, mismatch
from mmbd.formats.options import LoadOptions
from mmbd.formats.table import FORMATS, PICKLE, SUFFIXES, contents

STATE = nn.Linear(4, 3).state_dict()


def saved(*, as_zip: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(STATE, stream, _use_new_zipfile_serialization=as_zip)
    return stream.getvalue()


def graph() -> bytes:
    """A network of one layer, with the names of `STATE`."""
    tensors = {name: tensor.numpy() for name, tensor in STATE.items()}
    layer = onnx_files.node("Gemm", "x weight bias", "y", transB=1)
    return onnx_files.model([layer], ["n", 4], tensors).SerializeToString()


def described() -> bytes:
    said = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 8}
    return json.dumps(said | {"id2label": {str(label): f"class {label}" for label in range(40)}}).encode()


def index() -> bytes:
    return json.dumps({"weight_map": dict.fromkeys(STATE, "part.safetensors")}).encode()


SAMPLES: dict[str, Callable[[], bytes]] = {
    "hub folder": described,
    "shards": index,
    "safetensors": lambda: to_safetensors(STATE),
    "zip": lambda: saved(as_zip=True),
    "torch legacy": lambda: saved(as_zip=False),
    "onnx": graph,
    "pt2": lambda: exported_programs.flat()[1],
    "keras": lambda: keras_models.saved("residual"),
    "hdf5": lambda: keras_models.saved("residual", ".h5"),
}
# What formats that name other files find beside theirs.
BESIDE = {"hub folder": "model.safetensors", "shards": "part.safetensors"}
NETWORKS = [name for name in SAMPLES if FORMATS[name].build is not None and name not in BESIDE]
WEIGHTS = [name for name in SAMPLES if name not in NETWORKS]


def test_every_format_has_a_sample_and_every_reader_a_row() -> None:
    assert set(SAMPLES) == set(FORMATS)
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.walk_packages(formats.__path__, "mmbd.formats.")
    ]
    readers = {
        value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and name != "contents"  # it finds the row
        and "Beside" in value.__annotations__.values()
        and value.__annotations__.get("return") == "Contents"
    }
    assert readers == {row.read for row in FORMATS.values()}


@pytest.mark.parametrize("name", SAMPLES)
def test_it_recognises_its_own_files_and_no_others(name: str) -> None:
    data = SAMPLES[name]()
    assert next(other for other, row in FORMATS.items() if row.recognise(data)) == name
    assert identify(data, len(data)) == name


@pytest.mark.parametrize("name", WEIGHTS)
def test_it_reads_the_same_tensors(name: str, tmp_path: Path) -> None:
    beside = NOTHING
    if name in BESIDE:
        (tmp_path / BESIDE[name]).write_bytes(SAMPLES["safetensors"]())
        beside = Beside(tmp_path)
    found = FORMATS[name].read(SAMPLES[name](), beside)
    held = found.value.get("weights", found.value)
    assert held.keys() == STATE.keys()
    assert all(torch.equal(held[key], tensor) for key, tensor in STATE.items())
    assert all(tensor.device.type == "cpu" for tensor in held.values())
    assert list(beside.digests) == ([BESIDE[name]] if name in BESIDE else [])


@pytest.mark.parametrize("name", NETWORKS)
def test_it_builds_a_network_from_plain_data(name: str) -> None:
    found = FORMATS[name].read(SAMPLES[name](), NOTHING)
    plain(found.value)
    build = FORMATS[name].build
    assert build is not None
    graph = build(found, LoadOptions())
    assert graph.input_shape is not None
    answers = graph.module(torch.rand(4, *graph.input_shape))
    assert answers.shape[0] == 4
    assert answers.dtype == torch.float32
    with pytest.raises(Failed, match="leave --arch out"):
        load_named(name, arch="lenet")


def plain(value: object) -> None:
    """Require what a file's contents may be: data as in JSON, and tensors."""
    if isinstance(value, dict):
        for key, item in value.items():
            assert isinstance(key, str)
            plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            plain(item)
    else:
        assert value is None or isinstance(value, str | int | float | bool | torch.Tensor), type(value)


def load_named(name: str, **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"net{FORMATS[name].suffixes[0]}"
        file.write_bytes(SAMPLES[name]())
        return mmbd.load(file, **options)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_cut_file_is_an_error_that_names_it(name: str, share: float, tmp_path: Path) -> None:
    data = SAMPLES[name]()
    file = tmp_path / f"half{FORMATS[name].suffixes[0]}"
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Failed) as raised:
        mmbd.load(file, arch=None if name in NETWORKS else lambda: nn.Linear(4, 3), input_shape=(4,))
    assert str(raised.value).startswith(f"{file}: ")


@pytest.mark.parametrize("name", SAMPLES)
def test_its_names_promise_it(name: str) -> None:
    row = FORMATS[name]
    assert row.title
    assert row.suffixes
    for suffix in SUFFIXES:
        assert suffix == suffix.lower()
        assert bool(mismatch(f"model{suffix.upper()}", name)) == (suffix not in row.suffixes)


def test_a_pickle_of_others_is_no_format() -> None:
    data = b"\x80\x04N." + bytes(99)
    assert identify(data, len(data)) == PICKLE
    with pytest.raises(mmbd.Refused, match="a Python pickle that torch did not write"):
        contents(data, PICKLE)
