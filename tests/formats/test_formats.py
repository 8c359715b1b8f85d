"""Formats are told by content; names only give a note."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

import mmbd
from mmbd.base.errors import Failed, Refused
from mmbd.formats.identify import identify

STATE = nn.Linear(4, 3).state_dict()


def contents(kind: str) -> bytes:
    if kind == "safetensors":
        return to_safetensors(STATE)
    stream = io.BytesIO()
    torch.save(STATE, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "name", "note"),
    [
        ("safetensors", "m.safetensors", None),
        ("zip", "m.pt", None),
        ("zip", "m.PTH", None),
        ("zip", "m.tar", None),
        ("zip", "model", None),
        ("torch legacy", "m.bin", None),
        ("safetensors", "m.pt", "the file is safetensors though it is named .pt"),
        (
            "zip",
            "m.safetensors",
            "the file is a zip archive (as torch writes them) though it is named .safetensors",
        ),
        (
            "torch legacy",
            "m.safetensors",
            "the file is a torch checkpoint in the format before 1.6 though it is named .safetensors",
        ),
    ],
)
def test_the_name_does_not_matter(kind: str, name: str, note: str | None, tmp_path: Path) -> None:
    data = contents(kind)
    assert identify(data, len(data)) == kind
    (tmp_path / name).write_bytes(data)
    loaded = mmbd.load(tmp_path / name, arch=lambda: nn.Linear(4, 3), input_shape=(4,))
    assert loaded.notes == (() if note is None else (note,))
    points = torch.randn(5, 4)
    expected = points @ STATE["weight"].T + STATE["bias"]
    with torch.no_grad():
        assert torch.allclose(loaded.classifier(points), expected, atol=1e-6)


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return content.getvalue()


OTHER = "Name the file with the model's weights"


@pytest.mark.parametrize(
    ("head", "what", "told"),
    [
        (b"GGUF\x03" + bytes(99), "GGUF", "mmbd scans classifiers"),
        (b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite", "the weights that it was exported"),
        (b"\x93NUMPY" + bytes(99), "NumPy", "safetensors.numpy.save_file"),
        (b"\x08\x07\x12\x07pytorch" + bytes(99), "ONNX", "the weights that it was exported"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip", "Unpack it and name the file inside"),
        (tar(), "tar archive", "Unpack it and name the file inside"),
        (b"\x7fELF" + bytes(99), "program", OTHER),
        (b"#!/bin/sh\nrm -rf /\n", "script", OTHER),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG", OTHER),
        (b"Once upon a time there was a model.", "no format that mmbd knows", OTHER),
        (bytes(1000), "no format that mmbd knows", OTHER),
        (b'12345678{"a": 1, "b": 2}', "no format that mmbd knows", OTHER),
        (b'{"weights": {"a": "model-1.safetensors"}}', "no format that mmbd knows", OTHER),
        (b"(lp0\nI1\naI2\naI3\naI4\na.", "a Python pickle that torch did not", "state_dict()"),
        (b"\x80\x04N." + bytes(99), "a Python pickle that torch did not write", "state_dict()"),
    ],
)
def test_other_formats_are_named_and_refused(head: bytes, what: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(head)
    with pytest.raises(Refused, match=what) as raised:
        mmbd.load(tmp_path / "model.pt")
    assert told in str(raised.value)
    # Only a pickle may be something that torch.save could write anew.
    assert ("state_dict()" in str(raised.value)) == (told == "state_dict()")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"PK\x05\x06" + bytes(18), "empty zip"),
    ],
)
def test_what_people_find_where_they_expect_a_model(head: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(head)
    with pytest.raises(Failed, match=what):
        mmbd.load(tmp_path / "model.pt")


@pytest.mark.parametrize("pickled", [b"cos\nabort\n)R.", b"cos\nabort\n.", b"N.", b"(dp0\n.", b"\x80\x04N."])
def test_a_pickle_of_a_few_bytes_is_refused(pickled: bytes, tmp_path: Path) -> None:
    """Ten bytes are enough for a program, so they are not called cut short."""
    assert len(pickled) < 16
    (tmp_path / "model.pkl").write_bytes(pickled)
    with pytest.raises(Refused, match="a Python pickle that torch did not write") as raised:
        mmbd.load(tmp_path / "model.pkl")
    assert ("os.abort" in str(raised.value)) == (b"abort" in pickled)


def test_half_of_a_small_file_is_no_pickle(tmp_path: Path) -> None:
    for data in (contents("torch legacy")[:15], b"cos\nabort\n)R", contents("safetensors")[:9]):
        (tmp_path / "model.pt").write_bytes(data)
        with pytest.raises(Failed, match=f"{len(data)} bytes, too few"):
            mmbd.load(tmp_path / "model.pt")


ZIPPED = {
    "TorchScript": (("m/constants.pkl", "m/data.pkl"), "torch.save(model.state_dict()"),
    "Keras": (("m/config.json", "m/metadata.json", "m/model.weights.h5"), "Save the model again with Keras"),
    "TorchServe": (("MAR-INF/MANIFEST.json", "model.pt"), "Unpack it and name the file inside"),
    "NumPy archive": (("x.npy", "y.npy"), "safetensors.numpy.save_file"),
    "zip archive without": (("readme.txt",), "Unpack it and name the file inside"),
}


@pytest.mark.parametrize("what", ZIPPED)
def test_each_archive_gets_advice_that_fits_it(what: str, tmp_path: Path) -> None:
    names, told = ZIPPED[what]
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        for name in names:
            archive.writestr(name, b"text")
    with pytest.raises(Refused, match=what) as raised:
        mmbd.load(tmp_path / "m.pt")
    assert told in str(raised.value)
    assert ("state_dict" in str(raised.value)) == (what == "TorchScript")


def test_bytes_after_the_last_tensor_are_noted(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(contents("torch legacy") + b"payload")
    loaded = mmbd.load(tmp_path / "m.pt", arch=lambda: nn.Linear(4, 3), input_shape=(4,))
    assert loaded.notes == ("7 bytes after the last tensor were not read",)


def test_files_of_big_endian_machines_are_not_misread(tmp_path: Path) -> None:
    data = contents("torch legacy")
    little = b"little_endianq\x02\x88"
    assert data.count(little) == 1
    (tmp_path / "m.pt").write_bytes(data.replace(little, little[:-1] + b"\x89"))
    with pytest.raises(Failed, match="big-endian"):
        mmbd.load(tmp_path / "m.pt", arch=lambda: nn.Linear(4, 3), input_shape=(4,))
