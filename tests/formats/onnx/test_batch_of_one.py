"""Graphs with a batch of one written into them can be scanned, not only loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mmbd
from helpers.onnx_files import model, node, values
from mmbd.model import activations, head

PATCHES = [
    node("Conv", "x w b", "c", strides=[4, 4]),
    node("Reshape", "c tokens", "k"),
    node("Transpose", "k", "q", perm=[0, 2, 1]),
]
TOKEN = [node("Concat", "class q", "all", axis=1)]
END = [
    node("MatMul", "all m", "p"),
    node("Relu", "p", "r"),
    node("ReduceMean", "r axis", "g", keepdims=0),
    node("Gemm", "g d e", "y", transB=1),
]
TENSORS = {
    "w": values(6, 3, 4, 4),
    "b": values(6),
    "tokens": np.array([1, 6, 4]),
    "class": values(1, 1, 6),
    "m": values(6, 6),
    "axis": np.array([1]),
    "d": values(4, 6),
    "e": values(4),
    "zero": np.array([0]),
}
FLAT = [  # without an axis for the batch, which no change of shapes puts back
    node("Squeeze", "q zero", "flat"),
    node("Unsqueeze", "flat zero", "again"),
    node("Concat", "class again", "all", axis=1),
]


@pytest.mark.parametrize(("middle", "said"), [(TOKEN, "changed to take any"), (FLAT, "input by input")])
def test_it_can_be_watched_and_scanned(middle: list[object], said: str, tmp_path: Path) -> None:
    file = tmp_path / "vit.onnx"
    file.write_bytes(model([*PATCHES, *middle, *END], [1, 3, 8, 8], TENSORS).SerializeToString())
    loaded = mmbd.load(file)
    assert said in " ".join(loaded.notes)
    assert loaded.doubts == ()
    points = torch.rand(3, 3, 8, 8)
    alone = torch.cat([loaded.classifier(each) for each in points.split(1)])
    assert torch.allclose(loaded.classifier(points), alone, atol=1e-5)
    found = head.find(loaded.classifier)
    assert found is not None
    assert found.features(loaded.classifier, points).shape == (3, 6)
    assert activations.find(loaded.classifier)
    report = mmbd.scan(loaded, restarts=1, steps=2, universal=False)
    assert sorted(report.finding.ranking) == [0, 1, 2, 3]
