"""Paths that are no readable model file: a clear answer, quickly, with little memory."""

from __future__ import annotations

import io
import os
import socket
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors

import mmbd
from helpers.cost_limits import bounded
from helpers.handmade_checkpoints import legacy, zipped
from mmbd.base.errors import Failed, Refused
from mmbd.formats import files


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no such file"):
        mmbd.load(tmp_path / "model.pt")
    (tmp_path / "file").write_text("x" * 100)
    with pytest.raises(Failed, match="cannot be read"):
        mmbd.load(tmp_path / "file" / "model.pt")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_names_that_cannot_exist(name: str) -> None:
    with pytest.raises(Failed):
        mmbd.load(name)


@pytest.mark.parametrize("size", [0, 1, 8, 15])
def test_empty_and_tiny(size: int, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04"[:size].ljust(size, b"\0"))
    with pytest.raises(Failed, match=f"{size} bytes"):
        mmbd.load(tmp_path / "m.pt")


def test_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.pt").write_bytes(zipped(b"\x80\x02}."))
    (tmp_path / "m.pt").chmod(0)
    if os.access(tmp_path / "m.pt", os.R_OK):  # root may read everything

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Failed, match="permission denied"):
        mmbd.load(tmp_path / "m.pt")


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    (tmp_path / "link.pt").symlink_to("m.safetensors")
    for name in ("m.safetensors", "link.pt"):
        with bounded(), pytest.raises(Failed, match="FIFO; it was not opened"):
            mmbd.load(tmp_path / name)


def test_a_fifo_that_takes_the_place_of_a_file_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "m.pt")
    monkeypatch.setattr(files, "_mode", lambda path: stat.S_IFREG)
    with bounded(), pytest.raises(Failed, match="expected a regular file, found a FIFO"):
        mmbd.load(tmp_path / "m.pt")


def test_sockets_devices_and_loops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(Failed, match="a socket"):
            mmbd.load(tmp_path / "s")
    with pytest.raises(Failed, match="a character device"):
        mmbd.load("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Failed, match="cannot be read"):
        mmbd.load(tmp_path / "loop")


HEADS = {
    "zeros": (b"", Refused, "no format that mmbd knows"),
    "zip": (b"PK\x03\x04", Failed, "the limit is"),
    "safetensors": ((10 << 30).to_bytes(8, "little") + b'{"', Failed, "the limit is"),
    "legacy": (legacy(b"\x80\x02}."), Failed, "the limit is"),
    "pickle": (b"\x80\x04\x95", Failed, "the limit is"),
}


@pytest.mark.parametrize("head", HEADS)
def test_ten_sparse_gigabytes_are_answered_at_once(head: str, tmp_path: Path) -> None:
    content, error, message = HEADS[head]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    os.truncate(path, 10 << 30)
    with bounded(megabytes=20), pytest.raises(error, match=message):
        mmbd.load(path)


def test_the_limit_can_be_set(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2, 4)}, tmp_path / "m.pt")
    with pytest.raises(Failed, match=r"the limit is 100: .* --max-bytes \(in Python, max_bytes=\)"):
        mmbd.load(tmp_path / "m.pt", max_bytes=100)


def test_a_file_that_shrinks_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer at work between the question for the size and the reading."""
    path = tmp_path / "m.pt"
    torch.save({"weight": torch.ones(2, 4)}, path)
    ask = os.fstat

    def shorten(descriptor: int) -> os.stat_result:
        status = ask(descriptor)
        os.truncate(path, 900)
        return status

    monkeypatch.setattr(os, "fstat", shorten)
    with pytest.raises(Failed, match="changed while"):
        mmbd.load(path)


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """A small model in each format."""
    state = {"0.weight": torch.randn(3, 4), "0.bias": torch.zeros(3)}
    found = {"safetensors": to_safetensors(state)}
    for name, as_zip in (("zip", True), ("legacy", False)):
        content = io.BytesIO()
        torch.save(state, content, _use_new_zipfile_serialization=as_zip)
        found[name] = content.getvalue()
    return found


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_cut_short_anywhere(kind: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Never half a model: every proper prefix of a file is an error, and it says so."""
    data = whole[kind]
    path = tmp_path / "m.bin"
    path.write_bytes(data)
    arguments = {"arch": lambda: torch.nn.Sequential(torch.nn.Linear(4, 3)), "input_shape": (4,)}
    assert mmbd.load(path, **arguments).classifier.classes == 3
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(Failed):
            mmbd.load(path, **arguments)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "an empty folder"),
        (("config.json", "readme.md"), "found config.json, readme.md"),
        (("model.safetensors.index.json",), "the file has 2 bytes, too few for any model"),
    ],
)
def test_folders_without_one_model(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(Failed, match=message):
        mmbd.load(tmp_path)


def test_folders_with_programs_or_fifos(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with bounded(), pytest.raises(Failed, match="FIFO"):
        mmbd.load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    with pytest.raises(Refused, match="SavedModel"):
        mmbd.load(tmp_path)
