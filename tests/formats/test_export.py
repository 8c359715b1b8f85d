"""Forms to deploy: each answers as the classifier does, and needs no mmbd where it is used."""

from __future__ import annotations

import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import toy_networks
from helpers.exported_networks import BUILT_IN, HERE, assert_same, bounded, inputs, network
from mmbd.formats import export
from mmbd.formats.export import NotExported
from mmbd.formats.load import load
from mmbd.formats.spec import Spec
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The TorchScript type system")
@pytest.mark.parametrize("name", ["preact", *BUILT_IN])
def test_plain_modules_answer_alike(name):
    clf = bounded(name)
    before = {key: value.clone() for key, value in clf.model.state_dict().items()}
    module = export.plain(clf)
    assert_same(module, clf)
    assert_same(pickle.loads(pickle.dumps(module)), clf)
    make = torch.jit.script if name != "dgcnn" else lambda m: torch.jit.trace(m, inputs(clf))
    assert_same(make(module), clf)
    for value in module.state_dict().values():
        value.zero_()
    assert all(torch.equal(before[key], value) for key, value in clf.model.state_dict().items())


ELSEWHERE = """
import sys
sys.modules["mmbd"] = None
import torch
module, inputs = torch.load("module.pt", weights_only=False)
archive = torch.export.load("module.pt2").module()
torch.save((module(inputs), archive(inputs)), "logits.pt")
"""


@pytest.mark.parametrize("name", ["resnet8", pytest.param("dgcnn", marks=pytest.mark.slow)])
def test_a_process_without_mmbd(name, tmp_path):
    clf = bounded(name)
    module = export.plain(clf)
    assert {type(part).__module__.split(".")[0] for part in module.modules()} == {"torch"}
    torch.save((module, inputs(clf)), tmp_path / "module.pt")
    export.torch_export(clf, tmp_path / "module.pt2")
    subprocess.run([sys.executable, "-W", "ignore", "-c", ELSEWHERE], cwd=tmp_path, check=True)
    for logits in torch.load(tmp_path / "logits.pt"):
        torch.testing.assert_close(logits, clf(inputs(clf)))


def test_layers_keep_their_names():
    clf = bounded("resnet8")
    names = set(export.plain(clf).state_dict())
    assert {f"network.{key}" for key in clf.model.state_dict()} | {"normalise.mean", "normalise.std"} == names


def test_a_plain_network_without_bounds():
    clf = toy_networks.convolutional()
    assert_same(export.plain(clf), clf)


def test_normalisation_may_stay_outside():
    model, shape = network("cnn")
    clf = Classifier(model.eval(), input_shape=shape, mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.3))
    assert_same(export.plain(clf), clf)
    bare = export.plain(clf, normalise=False)
    assert "mean" not in bare.state_dict()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (clf.mean, clf.std))
    assert_same(lambda x: bare((x - mean) / std), clf)


def test_other_precisions_take_float32_and_return_it():
    clf = toy_networks.smooth()
    module = export.plain(clf)
    assert module(inputs(clf)).dtype == torch.float32
    assert_same(module, clf)
    half = Classifier(toy_networks.perceptron().bfloat16(), input_shape=(3, 2, 2), bounds=(-1, 2))
    assert torch.equal(export.plain(half)(inputs(half)), half(inputs(half)))


class Wrapped(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.inner = toy_networks.linear(3, 4).float()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: (y, y.mean()),
        lambda y: {"loss": 0, "logits": y},
        lambda y: [{"only": y}],
        lambda y: SimpleNamespace(logits=y),
        lambda y: y[:, None],
        lambda y: y[:, :, None, None],
    ],
)
def test_outputs_are_unwrapped_as_the_classifier_does(wrap):
    clf = Classifier(Wrapped(wrap), input_shape=(4,))
    assert_same(export.plain(clf), clf)


def test_the_output_that_was_chosen_is_exported():
    clf = Classifier(Wrapped(lambda y: (y + 1, {"b": 2 * y})), input_shape=(4,), output="1.b")
    assert_same(export.plain(clf), clf)


def test_a_network_whose_end_was_undone_is_not_exported():
    clf = Classifier(Wrapped(torch.sigmoid), input_shape=(4,), ends_in="sigmoid")
    with pytest.raises(export.NotExported, match="ends in a sigmoid"):
        export.plain(clf)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x.sub_(0.5).relu_())


def test_inputs_are_left_alone():
    clf = Classifier(InPlace(), input_shape=(4,))
    clf = clf.around(Bounded(clf.model, [Limit(activations.find(clf)[0], torch.full((4,), 0.1))]))
    module, x = export.plain(clf), inputs(clf)
    before = x.clone()
    module(x)
    assert torch.equal(x, before)
    assert_same(module, clf)


class OnlyExported(nn.Module):
    """Its branch depends on the shape, which torch.fx does not know and torch.export does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.first(x).relu() if x.dim() == 2 else x)


class Branching(OnlyExported):
    def forward(self, x):
        return self.last(self.first(x).relu()) if x.sum() > 0 else -self.last(self.first(x))


class Restless(OnlyExported):
    def forward(self, x):
        return self.last(self.first(x).relu()) + torch.rand(3)


def test_what_torch_fx_cannot_follow(tmp_path):
    clf = Classifier(OnlyExported(), input_shape=(4,))
    clf = clf.around(Bounded(clf.model, [Limit(activations.find(clf)[0], torch.full((6,), 0.05))]))
    module = export.plain(clf)
    assert_same(module, clf)
    assert_same(pickle.loads(pickle.dumps(module)), clf)


def test_networks_that_cannot_be_written_down(tmp_path):
    for model, reason in ((Branching(), "torch.where"), (Restless(), "random numbers")):
        clf = Classifier(model, input_shape=(4,))
        with pytest.raises(NotExported, match=reason):
            export.plain(clf)
    clf = Classifier(Branching(), input_shape=(4,))
    kept = tmp_path / "kept.pt2"
    kept.write_bytes(b"old")
    for write in (export.torch_export, export.onnx):
        with pytest.raises(NotExported, match=r"torch\.export cannot follow the network"):
            write(clf, kept, force=True)
    with pytest.raises(NotExported, match="is a function; only"):
        export.plain(Classifier(toy_networks.peaks(torch.rand(2, 4), torch.rand(2)), input_shape=(4,)))
    assert kept.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [kept]


def test_an_existing_file_needs_force(tmp_path):
    clf, path = toy_networks.convolutional(), tmp_path / "model"
    path.write_bytes(b"old")
    spec = Spec.of(clf, "cnn", {"widths": (8, 8)})
    for write in (export.torch_export, export.onnx, lambda *a, **k: export.safetensors(*a, spec, **k)):
        with pytest.raises(FileExistsError, match="exists already and was left alone"):
            write(clf, path)
        assert path.read_bytes() == b"old"
    export.safetensors(clf, path, spec, force=True)
    assert_same(load(path).classifier, clf)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["cnn", "m5", "dgcnn"])
def test_torch_export_archives(name, tmp_path):
    clf, path = bounded(name), tmp_path / "model.pt2"
    export.torch_export(clf, path)
    assert_same(torch.export.load(path).module(), clf)
    assert HERE not in path.read_bytes()


@pytest.mark.parametrize(
    "name",
    ["cnn", "preact", "resnet8", "m5"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("vgg16", "mobilenet", "pointnet", "dgcnn")],
)
def test_onnx_files(name, tmp_path, capfd):
    runtime = pytest.importorskip("onnxruntime")
    clf, path = bounded(name), tmp_path / "model.onnx"
    export.onnx(clf, path)
    assert capfd.readouterr() == ("", "")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("inputs", ["batch", *clf.domain.shape])
    assert (found.name, found.shape) == ("logits", ["batch", 5])
    for count in (1, 5):
        x = inputs(clf, count)
        logits = session.run(None, {"inputs": x.numpy()})[0]
        np.testing.assert_allclose(logits, clf(x).detach(), atol=1e-5, rtol=0)
    assert HERE not in path.read_bytes()


def test_onnx_says_which_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'mmbd\[onnx\]'"):
        export.onnx(toy_networks.convolutional(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arch", "arguments", "reason"),
    [
        ("cnn", {"widths": (8, 9)}, "do not fit|holds no more"),
        ("mlp", {}, "do not fit|holds no more"),
        ("cnn", {"widths": [object()]}, "JSON"),
        ("cnn", {"widths": (8, 8), "nonlinearity": "elu"}, "away from the classifier"),
    ],
)
def test_weights_under_a_wrong_name_are_not_written(arch, arguments, reason, tmp_path):
    clf = toy_networks.convolutional()
    with pytest.raises(NotExported, match=reason):
        export.safetensors(clf, tmp_path / "model", Spec.of(clf, arch, arguments))
    assert not list(tmp_path.iterdir())
