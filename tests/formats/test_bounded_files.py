"""Bounds in a safetensors file: they come back without flags."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import mmbd
from helpers.bounded_files import NETS, SHAPE, repaired, written
from mmbd import nets
from mmbd.base.errors import Failed
from mmbd.base.text import listed
from mmbd.cli import main
from mmbd.formats import export
from mmbd.formats.spec import METADATA_KEY, Spec
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.points import Points


@pytest.mark.parametrize("arch", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_bounded_network_comes_back_without_flags(arch, dtype, tmp_path):
    path = tmp_path / "model.safetensors"
    clf = written(path, arch, dtype=dtype)
    loaded = mmbd.load(path)
    x = torch.rand(6, *SHAPE)
    assert torch.equal(loaded.classifier(x), clf(x))
    assert not torch.allclose(clf.around(clf.model.network)(x), clf(x), atol=1e-3)
    pairs = zip(loaded.classifier.model.limits, clf.model.limits[::-1], strict=True)
    for found, kept in pairs:
        assert (found.activation, found.fold) == (kept.activation, kept.fold)
        assert torch.equal(found.upper, kept.upper)
        assert found.upper.dtype == dtype
        assert (found.lower is None) == (kept.lower is None)
    assert loaded.classifier.class_names == clf.class_names
    names = [activation.name for activation in activations.find(clf.around(clf.model.network))]
    assert loaded.notes == (f"activations with bounds: {listed(names)}",)
    assert loaded.model.parameters == sum(p.numel() for p in clf.model.network.parameters())


def test_what_is_in_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    clf = written(path)
    own = {"mmbd.upper.0", "mmbd.upper.1", "mmbd.lower.1", "mmbd.upper.2"}
    assert set(load_file(path)) == own | set(clf.model.network.state_dict())
    with safe_open(path, "pt") as opened:
        text = opened.metadata()[METADATA_KEY]
    assert json.loads(text)["activation_bounds"] == [
        {"name": "2", "index": 0, "fold": True},
        {"name": "6", "index": 1, "fold": False},
        {"name": "11", "index": 2, "fold": False},
    ]


def test_saving_again_what_was_loaded(tmp_path):
    written(tmp_path / "one")
    loaded = mmbd.load(tmp_path / "one")
    export.safetensors(loaded.classifier, tmp_path / "two", loaded.spec)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    # A network that has lost its bounds must not claim any.
    bare = loaded.classifier.around(loaded.classifier.model.network)
    export.safetensors(bare, tmp_path / "three", loaded.spec)
    assert not isinstance(mmbd.load(tmp_path / "three").classifier.model, Bounded)


def test_flags_do_not_take_the_bounds_away(tmp_path):
    path = tmp_path / "model.safetensors"
    clf = written(path)
    x = torch.rand(3, *SHAPE)
    loaded = mmbd.load(path, arch="cnn", class_names=list("wxyz"))
    assert torch.equal(loaded.classifier(x), clf(x))
    own = mmbd.load(path, arch=lambda: nets.build("cnn", classes=4, input_shape=SHAPE, **NETS["cnn"]))
    assert torch.equal(own.classifier(x), clf(x))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.last(self.first(x).relu())


def test_an_architecture_of_ones_own(tmp_path):
    net = Own()
    clf = Classifier(net, input_shape=(5,), bounds=(-2, 3), std=0.5)
    clf = clf.around(Bounded(net, [Limit(activations.find(clf)[0], torch.full((7,), 0.2))]))
    path = tmp_path / "model.safetensors"
    export.safetensors(clf, path, Spec.of(clf, "own.py:Own"))
    with pytest.raises(Failed, match=r"says it is 'own\.py:Own', which is not a built-in"):
        mmbd.load(path)
    loaded = mmbd.load(path, arch=Own)
    assert loaded.classifier.domain.bounds == (-2, 3)
    x = torch.rand(4, 5)
    assert torch.equal(loaded.classifier(x), clf(x))
    assert loaded.spec == Spec.of(clf, "Own")


def test_words_for_what_was_loaded_with_flags(tmp_path):
    clf = repaired()
    save_file(clf.model.network.state_dict(), tmp_path / "bare")
    loaded = mmbd.load(tmp_path / "bare", arch="cnn", arch_args=NETS["cnn"], input_shape=SHAPE)
    assert loaded.spec == Spec("cnn", SHAPE, 4, NETS["cnn"])
    export.safetensors(loaded.classifier, tmp_path / "whole", loaded.spec)
    x = torch.rand(3, *SHAPE)
    assert torch.equal(mmbd.load(tmp_path / "whole").classifier(x), loaded.classifier(x))


def test_words_for_inputs():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    cloud = Classifier(net, domain=Points(2, region="ball", radius=2.0))
    spec = Spec.of(cloud, "pointnet")
    assert (spec.domain, spec.bounds, spec.input_shape) == ("ball", (-2.0, 2.0), (3, 2))
    assert Spec.from_json(spec.to_json()) == spec
    uneven = Classifier(net, domain=Box((3, 2), 0.0, (1.0, 2.0, 1.0)))
    with pytest.raises(ValueError, match=r"but not that they are in Box\(\(3, 2\), low=0, high=1"):
        Spec.of(uneven, "mlp")


def test_a_scan_needs_no_flags_and_sees_the_bounds(tmp_path):
    """Class 2 answers to one hidden unit alone, times 20; its bound of 1/2 allows for 10."""
    spec = Spec("mlp", (16,), 8, {"hidden": (8,)})
    net = spec.network()
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight.copy_(torch.eye(*layer.weight.shape))
            layer.bias.zero_()
        net[3].weight[2, 2] = 20
    clf = Classifier(net, input_shape=(16,))
    upper = torch.ones(8).index_fill(0, torch.tensor(2), 0.5)
    fixed = clf.around(Bounded(net, [Limit(activations.find(clf)[0], upper)]))
    for name, model, largest in (("before", clf, 20), ("after", fixed, 10)):
        export.safetensors(model, tmp_path / name, spec)
        with pytest.raises(SystemExit) as stopped:
            main(["scan", str(tmp_path / name), "--json", str(tmp_path / "report.json"), "--quiet"])
        report = mmbd.Report.from_json((tmp_path / "report.json").read_text())
        assert stopped.value.code == report.exit_code == 1
        assert report.targets == (2,)
        assert 0.8 * largest < report.statistics[2] < largest + 1e-4


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_are_as_readable_as_the_user_asks(tmp_path):
    before = os.umask(0o027)
    try:
        written(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
