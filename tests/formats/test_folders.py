"""A folder: the hubs' names say which file is scanned, and all else is said in words."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from mmbd.base.errors import Failed, Refused


def arguments() -> dict[str, object]:
    return {"arch": lambda: nn.Linear(4, 3), "input_shape": (4,)}


def test_of_both_names_the_hubs_own_choice(tmp_path: Path) -> None:
    state, other = nn.Linear(4, 3).state_dict(), nn.Linear(4, 3).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    torch.save(other, tmp_path / "pytorch_model.bin")
    loaded = mmbd.load(tmp_path, **arguments())
    assert torch.equal(loaded.classifier.model.weight, state["weight"])
    assert loaded.model.file == str(tmp_path / "model.safetensors")
    assert loaded.notes == (
        "the folder's weights file is model.safetensors",
        "pytorch_model.bin beside it was left alone: scan it by its own name if it is what gets used",
    )
    (tmp_path / "model.safetensors").unlink()
    loaded = mmbd.load(tmp_path, **arguments())
    assert torch.equal(loaded.classifier.model.weight, other["weight"])
    assert loaded.notes == ("the folder's weights file is pytorch_model.bin",)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("a.safetensors", "b.safetensors"),
            r"found 2 other files that may hold a model \(a\.safetensors, b\.safetensors\): name "
            r"them, for example `mmbd scan -- .*/\*\.safetensors`",
        ),
        (("a.pt", "b.PTH", "readme.md"), r"found 2 other .* -- .*/\*\.pt`"),
        (("best.pt", "readme.md"), r"found best\.pt: name that file, in "),
        (
            ("adapter_model.safetensors", "readme.md"),
            r"an adapter \(PEFT\), which is only a part of a model: merge it into its base model",
        ),
        (("adapter_model.bin",), "an adapter"),
        (("tf_model.h5",), "found tf_model.h5, weights for TensorFlow.* PyTorch"),
        (("flax_model.msgpack",), "found flax_model.msgpack, weights for Flax: save them"),
        (("x\x1b[2J.pt", "y.pt"), r"x\\x1b\[2J\.pt"),
    ],
)
def test_what_else_a_folder_holds_is_said_in_words(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(Failed, match=said) as raised:
        mmbd.load(tmp_path)
    assert str(raised.value).isprintable()


def test_a_saved_model_gets_advice_that_fits_it(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    with pytest.raises(Refused, match=r"SavedModel.*the weights that it was exported") as raised:
        mmbd.load(tmp_path)
    assert "torch.save" not in str(raised.value)


def test_standard_input_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failed, match="not standard input: save the model to a file first"):
        mmbd.load("-")
    save_file(nn.Linear(4, 3).state_dict(), tmp_path / "-")  # a file of that name is one
    assert mmbd.load("-", **arguments()).classifier.classes == 3


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin on this system")
def test_pipes_are_told_to_become_files(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save(nn.Linear(4, 3).state_dict(), content)
    program = "import mmbd\ntry:\n    mmbd.load('/dev/stdin')\nexcept mmbd.base.errors.Failed as e: print(e)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=content.getvalue(),
        timeout=600,
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode()
    assert "a FIFO; it was not opened: save what it gives to a file first, and name that" in said
