"""What every row of FORMATS has to do. A new format needs a sample here."""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

import mmbd
from helpers import onnx_files
from mmbd import formats
from mmbd.base.errors import Failed
from mmbd.formats.beside import NOTHING
from mmbd.formats.identify import identify, mismatch
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


SAMPLES: dict[str, Callable[[], bytes]] = {
    "safetensors": lambda: to_safetensors(STATE),
    "zip": lambda: saved(as_zip=True),
    "torch legacy": lambda: saved(as_zip=False),
    "onnx": graph,
}


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
        and name != "contents"
        and value.__annotations__.get("return") == "Contents"
    }
    assert readers == {row.read for row in FORMATS.values()}


@pytest.mark.parametrize("name", SAMPLES)
def test_it_recognises_its_own_files_and_no_others(name: str) -> None:
    data = SAMPLES[name]()
    assert [other for other, row in FORMATS.items() if row.recognise(data)] == [name]
    assert identify(data, len(data)) == name


@pytest.mark.parametrize("name", SAMPLES)
def test_it_reads_the_same_tensors(name: str) -> None:
    found = FORMATS[name].read(SAMPLES[name](), NOTHING)
    tensors = found.value if FORMATS[name].build is None else found.value["tensors"]
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[key], tensor) for key, tensor in STATE.items())
    assert all(tensor.device.type == "cpu" for tensor in tensors.values())


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_cut_file_is_an_error_that_names_it(name: str, share: float, tmp_path: Path) -> None:
    data = SAMPLES[name]()
    file = tmp_path / f"half{FORMATS[name].suffixes[0]}"
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Failed) as raised:
        mmbd.load(file, arch=lambda: nn.Linear(4, 3), input_shape=(4,))
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
