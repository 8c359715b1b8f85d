"""Files as torch's exporters write them, made once; `answers.safetensors` has what the networks gave.

`bounded.onnx` is what `mmbd fix` writes (exporter of torch.export): convolutions with BatchNorm and bounds
on activations, normalisation inside. `attention.onnx` is a block of a vision transformer from the older
exporter, with shapes computed in the graph and a softmax at its end.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mmbd
from mmbd.base.errors import NotExported
from mmbd.formats import export
from mmbd.model import activations

FILES = Path(__file__).parent / "files"
ANSWERS = load_file(FILES / "answers.safetensors")


@pytest.mark.parametrize("name", ["bounded", "attention"])
def test_it_answers_as_the_network_did(name: str) -> None:
    loaded = mmbd.load(FILES / f"{name}.onnx")
    found = loaded.classifier(ANSWERS[f"{name} inputs"]).detach()
    if name == "attention":
        assert "left off" in loaded.notes[0]
        found = found.softmax(1)
    assert torch.allclose(found, ANSWERS[name], atol=1e-5)
    assert loaded.model.input_shape == (3, 8, 8)
    assert activations.find(loaded.classifier)


@pytest.mark.parametrize("name", ["bounded", "attention"])
def test_what_was_read_can_be_written_again(name: str, tmp_path: Path) -> None:
    loaded = mmbd.load(FILES / f"{name}.onnx")
    export.torch_export(loaded.classifier, tmp_path / "again.pt2")
    again = torch.export.load(tmp_path / "again.pt2").module()
    points = ANSWERS[f"{name} inputs"]
    assert torch.allclose(again(points), loaded.classifier(points).detach(), atol=1e-5)


def test_a_safetensors_file_has_no_words_for_it(tmp_path: Path) -> None:
    loaded = mmbd.load(FILES / "bounded.onnx")
    with pytest.raises(NotExported, match=r"no words for this network.*write \.pt2 or \.onnx"):
        export.check(loaded.classifier, ".safetensors", lambda: loaded.spec)
    with pytest.raises(ValueError, match="give arch="):
        mmbd.export(loaded, tmp_path / "x.safetensors")


@pytest.mark.slow
def test_a_scan_through_onnx_agrees(tmp_path: Path) -> None:
    """Of a bundled model, verdict and targets, and the p-value as far as rounding lets it."""
    bundled = Path(__file__).parents[3] / "examples" / "models" / "badnet-resnet8.safetensors"
    loaded = mmbd.load(bundled)
    export.onnx(loaded.classifier, tmp_path / "model.onnx")
    one, other = mmbd.scan(loaded), mmbd.scan(mmbd.load(tmp_path / "model.onnx"))
    assert (one.verdict, one.targets) == (other.verdict, other.targets)
    assert one.p_value is not None
    assert other.p_value == pytest.approx(one.p_value, rel=0.05)  # far in a tail
