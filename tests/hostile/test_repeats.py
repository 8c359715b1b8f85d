"""Weights that show a few numbers of the file many times: a small file must not claim much."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mmbd
from helpers.cost_limits import bounded
from mmbd.base.errors import Failed
from mmbd.formats.networks.selection import require_distinct


def saved(path: Path, value: Any, old: bool = False) -> Path:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not old)
    path.write_bytes(content.getvalue())
    return path


@pytest.mark.parametrize("old", [False, True])
def test_thousands_of_classes_by_a_stride_of_nothing(old: bool, tmp_path: Path) -> None:
    """18 kB that claimed 16,384 classes; a scan of that many takes hours."""
    state = {
        "1.weight": torch.randn(8, 4),
        "1.bias": torch.zeros(8),
        "3.weight": torch.randn(1, 8).expand(16_384, 8),
        "3.bias": torch.zeros(16_384)[:1].expand(16_384),
    }
    path = saved(tmp_path / "m.pt", {"net": state}, old)
    assert path.stat().st_size < 70_000
    options = {"arch": "mlp", "arch_args": {"hidden": (8,)}, "input_shape": (4,)}
    with bounded(10.0), pytest.raises(Failed, match=r"'3.weight' repeats its numbers: its 131,072"):
        mmbd.load(path, **options)
    plain = saved(
        tmp_path / "n.pt",
        {
            "net": {k: v[:3].contiguous() for k, v in state.items()}
            | {k: state[k] for k in ("1.weight", "1.bias")}
        },
    )
    assert mmbd.load(plain, **options).classifier.classes == 3


def test_in_a_network_of_the_users_own(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pt", {"weight": torch.ones(1, 4).expand(3, 4), "bias": torch.ones(3)})
    with pytest.raises(Failed, match=r"its 12 elements share 4\. Save the weights"):
        mmbd.load(path, arch=lambda: nn.Linear(4, 3), input_shape=(4,))


def test_beside_the_weights_it_is_harmless(tmp_path: Path) -> None:
    state = nn.Linear(4, 3).state_dict()
    path = saved(tmp_path / "m.pt", {"net": state, "mask": torch.ones(1).expand(1000, 1000)})
    loaded = mmbd.load(path, arch=lambda: nn.Linear(4, 3), input_shape=(4,))
    assert torch.equal(loaded.classifier.model.weight, state["weight"])


STORED = torch.arange(24.0)
DISTINCT = {
    "whole": STORED,
    "one": STORED[3],
    "one, expanded": STORED[:1].expand(1, 1, 1),
    "a row of one, expanded elsewhere": STORED.view(1, 24).expand(1, 24),
    "turned": STORED.view(2, 3, 4).permute(2, 0, 1),
    "every second": STORED.view(4, 6)[::2, 1::2],
    "nothing": STORED[:0].expand(5, 0),
}
REPEATED = {
    "expanded": STORED[:1].expand(2),
    "expanded within": STORED.view(24, 1).expand(24, 2),
    "windows": STORED.unfold(0, 5, 1),
    "windows that touch in one": STORED.as_strided((4, 5), (4, 1)),
    "a diagonal walk": STORED.as_strided((3, 3), (1, 1)),
}


@pytest.mark.parametrize("name", DISTINCT)
def test_each_number_once(name: str) -> None:
    require_distinct({"w": DISTINCT[name]})


@pytest.mark.parametrize("name", REPEATED)
def test_a_number_twice(name: str) -> None:
    with pytest.raises(Failed, match="the tensor 'w' repeats its numbers"):
        require_distinct({"v": STORED, "w": REPEATED[name]})
