"""Bounds by place in every form to deploy, and files of before they were there."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mmbd
from helpers.bounded_files import NETS, repaired
from helpers.exported_networks import assert_same, inputs
from mmbd.base.errors import Failed
from mmbd.formats import export
from mmbd.formats.spec import METADATA_KEY, Spec
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier


def by_place(arch: str) -> Classifier:
    """A network whose inputs and first two activations have bounds by place; one has lower ones too."""
    clf = repaired(arch)
    generator = torch.Generator().manual_seed(5)
    limits = [
        Limit(
            limit.activation,
            0.1 + torch.rand(limit.activation.shape, generator=generator),
            None if limit.lower is None else 0.1 * torch.rand(limit.activation.shape, generator=generator),
            limit.fold,
        )
        if limit.activation.index < 2
        else limit
        for limit in clf.model.limits
    ]
    ends = torch.rand(2, *clf.domain.shape, generator=generator) - 0.5  # of normalised inputs
    entering = Limit(activations.inputs_of(clf), ends.amax(0), ends.amin(0), fold=True)
    made = clf.around(Bounded(clf.model.network, [*limits, entering]))
    assert not torch.allclose(made(inputs(clf)), clf(inputs(clf)), atol=1e-3)
    return made


@pytest.mark.parametrize("arch", NETS)
def test_safetensors(arch, tmp_path):
    clf, path = by_place(arch), tmp_path / "model.safetensors"
    export.safetensors(clf, path, Spec.of(clf, arch, NETS[arch]))
    loaded = mmbd.load(path)
    assert_same(loaded.classifier, clf)
    kept = {limit.activation: limit for limit in clf.model.limits}
    for limit in loaded.classifier.model.limits:
        assert torch.equal(limit.upper, kept[limit.activation].upper)
    assert kept.keys() == {limit.activation for limit in loaded.classifier.model.limits}
    assert Spec.from_json(_metadata(path)[METADATA_KEY]).activation_bounds[0].index == -1
    assert {limit.upper.dim() for limit in loaded.classifier.model.limits} == {1, 3}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The TorchScript type system")
@pytest.mark.parametrize("arch", NETS)
def test_modules_of_plain_torch_and_torchscript(arch):
    clf = by_place(arch)
    module = export.plain(clf)
    assert_same(pickle.loads(pickle.dumps(module)), clf)
    assert_same(torch.jit.script(module), clf)
    assert_same(torch.jit.trace(module, inputs(clf)), clf)


@pytest.mark.parametrize("arch", NETS)
def test_torch_export(arch, tmp_path):
    clf = by_place(arch)
    export.torch_export(clf, tmp_path / "model.pt2")
    assert_same(torch.export.load(tmp_path / "model.pt2").module(), clf)


@pytest.mark.parametrize("arch", NETS)
def test_onnx(arch, tmp_path):
    clf = by_place(arch)
    export.onnx(clf, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert_same(lambda x: torch.from_numpy(session.run(None, {"inputs": x.numpy()})[0]), clf)


def test_a_file_of_before_there_were_bounds_by_place(tmp_path):
    """Written here by hand, as releases without bounds by place wrote it."""
    clf = repaired()
    tensors = dict(clf.model.network.state_dict())
    for limit in clf.model.limits:
        tensors[f"mmbd.upper.{limit.activation.index}"] = limit.upper
        if limit.lower is not None:
            tensors[f"mmbd.lower.{limit.activation.index}"] = limit.lower
    said = {
        "version": 1,
        "arch": "cnn",
        "bounds": [0.0, 1.0],
        "arguments": {"widths": [4, 6], "hidden": [5]},
        "input_shape": [3, 8, 8],
        "classes": 4,
        "class_names": ["a", "b", "c", "d"],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2],
        "activation_bounds": [
            {"name": "2", "index": 0, "fold": True},
            {"name": "6", "index": 1, "fold": False},
            {"name": "11", "index": 2, "fold": False},
        ],
    }
    path = tmp_path / "old.safetensors"
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, path, {METADATA_KEY: json.dumps(said)}
    )
    assert_same(mmbd.load(path).classifier, clf)


@pytest.mark.parametrize("shape", [(4, 8, 7), (8, 8), (1, 8, 8), (4, 64)])
def test_bounds_of_other_places_are_refused(shape, tmp_path):
    clf, path = by_place("cnn"), tmp_path / "model.safetensors"
    export.safetensors(clf, path, Spec.of(clf, "cnn", NETS["cnn"]))
    _with(path, "mmbd.upper.0", torch.ones(shape))
    with pytest.raises(Failed, match=r"bounds do not fit.*or one for every place, of shape \(4, 8, 8\)"):
        mmbd.load(path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("upper", torch.ones(3, 8, 7), r"or one for every place, of shape \(3, 8, 8\)"),
        ("upper", torch.full((3, 8, 8), -9.0), "must not exceed the upper ones"),
        ("upper", torch.full((3, 8, 8), float("nan")), "must be finite"),
        ("lower", None, "must be upper and lower ones"),
    ],
)
def test_broken_bounds_on_inputs_are_refused(name, value, said, tmp_path):
    clf, path = by_place("cnn"), tmp_path / "model.safetensors"
    export.safetensors(clf, path, Spec.of(clf, "cnn", NETS["cnn"]))
    _with(path, f"mmbd.{name}._inputs", value)
    with pytest.raises(Failed, match=rf"bounds do not fit.*{said}"):
        mmbd.load(path)


def test_bounds_on_inputs_by_channel_do(tmp_path):
    clf, path = by_place("cnn"), tmp_path / "model.safetensors"
    export.safetensors(clf, path, Spec.of(clf, "cnn", NETS["cnn"]))
    for name, value in (("upper", 0.5), ("lower", -0.5)):
        _with(path, f"mmbd.{name}._inputs", torch.full((3,), value))
    loaded = mmbd.load(path).classifier
    x = loaded.normalised(inputs(clf))
    assert loaded.model.limits[0](x).abs().max() == 0.5
    assert torch.isfinite(loaded(inputs(clf))).all()


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return opened.metadata()


def _with(path: Path, name: str, value: torch.Tensor | None) -> None:
    metadata = _metadata(path)
    tensors = load_file(path) | {name: value}
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, path, metadata)
