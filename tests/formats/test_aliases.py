"""`safetensors.torch.save_model` keeps one of two shared tensors, and a word about the other."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

import mmbd
from mmbd.base.errors import Failed
from mmbd.formats import tensor_file


class Tied(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.b.weight = self.a.weight
        self.c = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu()).mean((2, 3))


def load(path: Path, network: nn.Module | None = None) -> mmbd.load.Loaded:
    return mmbd.load(path, arch=lambda: network or Tied(), input_shape=(3, 8, 8))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_tied_network_comes_back(wrapped: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Tied().eval()
    inner = nn.ModuleDict({"module": network}) if wrapped else network
    save_model(inner, str(tmp_path / "m.safetensors"))
    loaded = load(tmp_path / "m.safetensors")
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.classifier(x), network(x))
    before = "module." if wrapped else ""
    note = f"shared tensors, as the file's metadata says: {before}b.weight is {before}a.weight"
    assert loaded.notes[0] == note


def written(path: Path, metadata: dict[str, str], leave: str = "b.weight") -> Path:
    state = {name: value.clone() for name, value in Tied().state_dict().items() if name != leave}
    save_file(state, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "pt"},
        {"b.weight": "b.weight"},
        {"b.weight": "no.such"},
        {"b.weight": "a.bias"},
        {"b.weight": "c.weight"},
        {"a.weight": "c.weight"},
        {"b.weight": "B.WEIGHT"},
        {"b.weight": "d", "d": "a.weight"},
    ],
)
def test_other_words_restore_nothing(metadata: dict[str, str], tmp_path: Path) -> None:
    """No such tensor, another shape, a tensor that is there already, a chain."""
    apart = Tied()
    apart.b.weight = nn.Parameter(apart.a.weight.detach().clone())
    with pytest.raises(Failed, match=r"missing: b\.weight"):
        load(written(tmp_path / "m.safetensors", metadata), apart)


def test_names_that_the_network_lacks_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "m.safetensors", {"b.weight": "a.weight", "x.weight": "a.weight"})
    notes = load(path).notes
    assert notes == ("shared tensors, as the file's metadata says: b.weight is a.weight",)


def test_what_is_there_wins(tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in Tied().state_dict().items()}
    state["b.weight"] += 1
    save_file(state, tmp_path / "m.safetensors", metadata={"b.weight": "a.weight"})

    class Untied(Tied):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Conv2d(3, 3, 3)

    loaded = load(tmp_path / "m.safetensors", Untied())
    assert torch.equal(loaded.classifier.model.b.weight, state["b.weight"])
    assert loaded.notes == ()


def test_absurdly_many_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "__metadata__": {f"n{i}": "w" for i in range(5)},
        "w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    }
    text = json.dumps(said).encode()
    data = struct.pack("<Q", len(text)) + text + b"\0"
    assert len(tensor_file.read_header(data, len(data)).aliases) == 5
    monkeypatch.setattr(tensor_file, "MAX_ALIASES", 4)
    assert tensor_file.read_header(data, len(data)).aliases == {}
