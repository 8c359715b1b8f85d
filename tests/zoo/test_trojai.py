"""Folders of TrojAI: models of all rounds, and those that are programs."""

from __future__ import annotations

import pytest
from torch import nn

from helpers.foreign_zoos import ARCH, Hostile, trojai
from mmbd.zoo import read


@pytest.mark.parametrize("inside", ["", "models"])
def test_trojai_of_all_rounds(tmp_path, inside):
    root = tmp_path / inside
    trojai(root / "id-00000000", "0", {"POISONED": False, "TRIGGER_TARGET_CLASS": None})
    trojai(
        root / "id-00000001",
        "1\n",
        {"POISONED": True, "TRIGGER_TARGET_CLASS": 2, "MODEL_ARCHITECTURE": "resnet50"},
    )
    trojai(root / "id-00000002", "1.0", {"triggers": [{"target_class": 3}, {"target_class": 0}]})
    trojai(root / "id-00000003", None, {"poisoned": True, "triggers_0_target_class": "1"})
    trojai(root / "id-00000004", None, {"poisoned": False})
    zoo = read(tmp_path, **ARCH)
    assert zoo.broken == ()
    assert [(entry.label, entry.targets) for entry in zoo.entries] == [
        ("clean", ()),
        ("backdoored", (2,)),
        ("backdoored", (0, 3)),
        ("backdoored", (1,)),
        ("clean", ()),
    ]
    assert zoo.entries[1].group == "resnet50"
    assert [entry.attack for entry in zoo.entries[:2]] == ["clean", "trojai"]
    assert zoo.entries[1].open().classes == 4


def test_trojai_models_that_are_programs_are_refused(tmp_path):
    marker = tmp_path / "marker"
    trojai(tmp_path / "id-0", "0", model=nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
    trojai(tmp_path / "id-1", "1", model=Hostile(marker))
    trojai(tmp_path / "id-2", "1", config={"triggers": []})
    trojai(tmp_path / "id-3", "maybe")
    trojai(tmp_path / "id-4", None)
    trojai(tmp_path / "id-5", "1", config=[1])
    (tmp_path / "id-6").mkdir()
    (tmp_path / "id-6" / "ground_truth.csv").write_text("1")
    zoo = read(tmp_path, **ARCH)
    assert [entry.name for entry in zoo.entries] == ["id-2"]
    reasons = dict(zoo.broken)
    assert "It holds a whole model and not only its weights" in reasons["id-0"]
    assert "posix.system" in reasons["id-1"]
    assert "the label 'maybe' is none of clean, backdoored" in reasons["id-3"]
    assert "the label '' is none of" in reasons["id-4"]
    assert "config.json is not an object" in reasons["id-5"]
    assert "no such file" in reasons["id-6"]
    assert not marker.exists()
