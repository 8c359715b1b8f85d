"""What every row of EXPORTS has to do: write a file that answers as the classifier, from one verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import mmbd
from mmbd import nets
from mmbd.formats.export import EXPORTS

SHAPE = (3, 8, 8)
ARCH = {"arch": "mlp", "arch_args": {"hidden": (6,)}}


def _onnx(path: Path, inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])


ANSWERS: dict[str, Callable[[Path, Tensor], Tensor]] = {
    ".safetensors": lambda path, inputs: mmbd.load(path).classifier(inputs),
    ".onnx": _onnx,
    ".pt2": lambda path, inputs: torch.export.load(path).module()(inputs),
    ".pt": lambda path, inputs: torch.load(path, weights_only=False)(inputs),
}


@pytest.fixture
def classifier() -> mmbd.Classifier:
    torch.manual_seed(0)
    network = nets.build("mlp", classes=4, input_shape=SHAPE, hidden=(6,))
    return mmbd.Classifier(network.eval(), input_shape=SHAPE, mean=0.4, std=0.3)


def test_every_form_is_tested() -> None:
    assert list(ANSWERS) == list(EXPORTS)
    assert all(form.title for form in EXPORTS.values())


@pytest.mark.parametrize("suffix", EXPORTS)
def test_the_file_answers_as_the_classifier(suffix: str, classifier: mmbd.Classifier, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix.upper()}"
    mmbd.export(classifier, path, **(ARCH if suffix == ".safetensors" else {}))
    inputs = torch.rand(3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(ANSWERS[suffix](path, inputs), classifier(inputs))
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        mmbd.export(classifier, path, **(ARCH if suffix == ".safetensors" else {}))
    assert path.read_bytes() == before
    mmbd.export(classifier, path, force=True, **(ARCH if suffix == ".safetensors" else {}))


@pytest.mark.parametrize("suffix", [suffix for suffix in EXPORTS if suffix != ".safetensors"])
def test_normalisation_may_stay_outside(suffix: str, classifier: mmbd.Classifier, tmp_path: Path) -> None:
    path, inputs = tmp_path / f"model{suffix}", torch.rand(3, *SHAPE)
    mmbd.export(classifier, path, normalise=False)
    with torch.no_grad():
        torch.testing.assert_close(ANSWERS[suffix](path, (inputs - 0.4) / 0.3), classifier(inputs))


def test_what_was_loaded_knows_its_network(classifier: mmbd.Classifier, tmp_path: Path) -> None:
    mmbd.export(classifier, tmp_path / "one.safetensors", **ARCH)
    mmbd.export(mmbd.load(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    assert (tmp_path / "two.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()


def test_what_cannot_be_said_is_an_error_and_leaves_no_file(
    classifier: mmbd.Classifier, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"unknown form of a file '\.onyx'; did you mean '\.onnx'\?"):
        mmbd.export(classifier, tmp_path / "model.onyx")
    with pytest.raises(ValueError, match="which network it is for: give arch="):
        mmbd.export(classifier, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"normalise=False is for \.pt2"):
        mmbd.export(classifier, tmp_path / "model.safetensors", normalise=False, **ARCH)
    other = mmbd.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), input_shape=SHAPE)
    with pytest.raises(mmbd.NotExported, match="would not load again as mlp"):
        mmbd.export(other, tmp_path / "model.safetensors", **ARCH)
    assert list(tmp_path.iterdir()) == []
