"""Weights in several files: exactly those that the index says, and each of them a plain file beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmbd
from mmbd.base.errors import Failed, Refused

INDEX = "model.safetensors.index.json"
STATE = nn.Linear(4, 3).state_dict()


def folder(at: Path) -> Path:
    for name, tensor in STATE.items():
        save_file({name: tensor}, at / f"{name}.safetensors")
    index(at, {name: f"{name}.safetensors" for name in STATE})
    return at


def index(at: Path, places: object) -> None:
    (at / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def load(at: Path) -> mmbd.Classifier:
    return mmbd.load(at, arch=lambda: nn.Linear(4, 3), input_shape=(4,)).classifier


def test_an_index_stands_for_its_files(tmp_path: Path) -> None:
    folder(tmp_path)
    loaded = mmbd.load(tmp_path, arch=lambda: nn.Linear(4, 3), input_shape=(4,))
    assert torch.equal(loaded.classifier.model.weight, STATE["weight"])
    assert sum(note.startswith("also read: ") for note in loaded.notes) == 2
    assert loaded.model.format == "an index of 2 files (safetensors)"


def link(at: Path) -> None:
    (at / "weight.safetensors").rename(at / "other")
    (at / "weight.safetensors").symlink_to("other")


def program(at: Path) -> None:
    torch.save(nn.Linear(4, 3), at / "weight.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: (at / "bias.safetensors").unlink(), "'bias.safetensors' beside it, which is not there"),
        (lambda at: index(at, dict.fromkeys(STATE, "../weight.safetensors")), "expected the plain name"),
        (lambda at: index(at, dict.fromkeys(STATE, "/etc/passwd")), "expected the plain name"),
        (lambda at: index(at, dict.fromkeys(STATE, "weight.safetensors")), "lacks bias"),
        (
            lambda at: index(at, {"weight": "weight.safetensors", "more": "bias.safetensors"}),
            "holds bias, which",
        ),
        (lambda at: index(at, {}), "has no weight_map"),
        (lambda at: index(at, {"weight": 1}), "files are no texts"),
        (lambda at: index(at, {str(i): f"{i}.bin" for i in range(2000)}), "more than 1,000 files"),
        (
            lambda at: (at / "bias.safetensors").write_bytes(b"no model at all, but text"),
            "bias.safetensors: ",
        ),
        (link, "no link"),
        (program, "It holds a whole model"),
    ],
)
def test_what_is_not_as_the_index_says(spoil: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    spoil(folder(tmp_path))
    with pytest.raises((Failed, Refused), match=said):
        load(tmp_path)


def test_all_files_together_are_bounded(tmp_path: Path) -> None:
    most = (folder(tmp_path) / "weight.safetensors").stat().st_size + 10
    with pytest.raises(Failed, match="allow for more with --max-bytes"):
        mmbd.load(tmp_path, arch=lambda: nn.Linear(4, 3), input_shape=(4,), max_bytes=max(most, 200))
