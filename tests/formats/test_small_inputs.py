"""A file's own input size: one so small that nothing is seen may not choose a verdict of clean."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmbd
from mmbd.formats.spec import Spec, save

MODELS = Path(__file__).resolve().parents[2] / "examples/models"


def written(folder: Path, spec: Spec) -> Path:
    path = folder / "model.safetensors"
    save(path, spec.network(), spec)
    return path


def resnet(shape: tuple[int, ...]) -> Spec:
    return Spec("resnet8", shape, 10, {"width": 4})


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 3, 3), (3, 7, 64)])
def test_a_size_below_any_usual_one_is_doubted_where_the_weights_fit_others(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = written(tmp_path, resnet(shape))
    size = "x".join(map(str, shape))
    words = (f"inputs of {size}, which the weights do not show (give --input)",)
    assert mmbd.load(path).doubts == words
    assert mmbd.load(path, arch="resnet8", arch_args={"width": 4}).doubts == words
    assert mmbd.load(path, as_claimed=True).doubts == ()
    assert mmbd.load(path, input_shape=shape, arch_args={"width": 4}).doubts == ()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (3, 64, 48)])
def test_usual_sizes_are_not(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert mmbd.load(written(tmp_path, resnet(shape))).doubts == ()


def test_sizes_that_the_weights_show_are_not(tmp_path: Path) -> None:
    path = written(tmp_path, Spec("mlp", (1, 4, 4), 6, {"hidden": (5,)}))
    assert mmbd.load(path).doubts == ()


def test_a_clean_verdict_on_such_a_file_is_open(tmp_path: Path) -> None:
    loaded = mmbd.load(MODELS / "badnet-resnet8.safetensors")
    path = tmp_path / "small.safetensors"
    save(path, loaded.classifier.model, Spec("resnet8", (3, 2, 2), 10, {"width": 16}))
    report = mmbd.scan(mmbd.load(path), null="joint")
    assert report.verdict == "not evaluable"
    assert "it claims inputs of 3x2x2" in str(report.reason)
    assert mmbd.scan(mmbd.load(path, as_claimed=True), null="joint").verdict == "clean"
    assert mmbd.scan(mmbd.load(path, input_shape=(3, 32, 32))).targets == (1,)
