"""mmbd inspect: what a file is, what would run, and what a scan has to be told; nothing is executed."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.command_line import caller
from mmbd import nets
from mmbd.formats import refusals
from mmbd.formats.options import LoadOptions
from mmbd.formats.spec import Spec, save
from mmbd.workflows.inspect_file import Inspection, inspect_file


def look(path: Path, **options: Any) -> Inspection:
    found = inspect_file(path, LoadOptions(**options))
    json.dumps(found.to_dict(), allow_nan=False)
    return found


def test_a_file_that_describes_itself(tmp_path: Path) -> None:
    spec = Spec("resnet8", (3, 16, 16), 4, class_names=("a", "b", "c", "d"))
    network = nets.build("resnet8", classes=4, input_shape=(3, 16, 16))
    save(tmp_path / "m.safetensors", network, spec)
    found = look(tmp_path / "m.safetensors")
    assert (found.state, found.code, found.needed) == ("readable", 0, ())
    assert (found.architecture, found.input_shape, found.classes) == ("resnet8", (3, 16, 16), 4)
    assert found.class_names == ("a", "b", "c", "d")
    assert found.parameters == sum(each.numel() for each in network.parameters())
    assert "architecture" in found.claimed


def test_weights_alone_need_words(tmp_path: Path) -> None:
    save_file(
        nets.build("resnet8", classes=4, input_shape=(3, 16, 16)).state_dict(), tmp_path / "m.safetensors"
    )
    found = look(tmp_path / "m.safetensors")
    assert (found.state, found.needed) == ("readable", ("--arch", "--input"))
    assert found.tensors is not None
    assert any("resnet8" in note for note in found.notes)
    assert look(tmp_path / "m.safetensors", arch="resnet8").needed == ("--input",)
    assert look(tmp_path / "m.safetensors", arch="resnet8", input_shape=(3, 16, 16)).classes == 4


class Evil:
    def __reduce__(self) -> Any:
        return (eval, ("__import__('pathlib').Path('ran').touch()",))


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_what_would_run_is_named_and_does_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "m.pt"
    if kind == "pickle":
        file.write_bytes(pickle.dumps([Evil(), "padding enough for a file"]))
    else:
        torch.save({"weight": torch.ones(2), "extra": Evil()}, file)
    found = look(file)
    assert (found.state, found.code) == ("refused", 3)
    assert any(name.endswith("eval") for name in found.would_run)
    assert found.sha256 is not None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("row", refusals.FOREIGN, ids=lambda row: row[2])
def test_formats_of_others_are_refused_by_name(row: tuple[int, bytes, str, str], tmp_path: Path) -> None:
    offset, magic, what, _ = row
    (tmp_path / "m").write_bytes(bytes(offset) + magic + bytes(600))
    found = look(tmp_path / "m")
    assert (found.state, found.code) == ("refused", 3)
    assert what in str(found.reason)
    assert found.bytes == offset + len(magic) + 600


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "page").write_bytes(b"<!doctype html><p>not found, not found")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a.txt", "no model")
    for name, state in (("empty", "broken"), ("page", "broken"), ("nothing", "broken"), ("zip", "refused")):
        assert look(tmp_path / name).state == state, name


def test_a_folder_of_many_is_looked_at_and_scanned_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = caller(capsys)
    (models := tmp_path / "models").mkdir()
    save_file(nn.Linear(4, 3).state_dict(), models / "a.safetensors")
    (models / "b.pt").write_bytes(b"cut" * 9)
    (models / "c.onnx").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (models / "readme.md").write_text("no model")
    code, out, _ = run("inspect", "models", "--json")
    assert code == 3
    assert [Path(each["file"]).name for each in json.loads(out)] == ["a.safetensors", "b.pt", "c.onnx"]
    assert {each["state"] for each in json.loads(out)} >= {"readable", "refused"}
    code, out, _ = run("inspect", "models/*.safetensors")
    assert code == 0
    assert "to scan it give --arch and --input" in out
    code, out, _ = run("scan", "models", "--quiet")
    lines = out.splitlines()
    assert code == 3
    assert len(lines) == 3
    assert lines[0].startswith("not evaluable: models/a.safetensors: failed: ")
    code, out, _ = run("inspect", "nothing/")
    assert code == 2
