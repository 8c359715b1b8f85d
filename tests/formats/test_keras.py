"""Models of Keras: the same answers as Keras', whatever is in them and however they were saved."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor

import mmbd
from helpers import keras_models
from helpers.keras_models import built, changed, config, dense, expected, inputs, layer, saved
from mmbd.base.errors import Failed, Refused
from mmbd.formats.format import Graph
from mmbd.formats.keras.files import is_archive, read_archive
from mmbd.formats.keras.hdf5 import Hdf5
from mmbd.formats.keras.layers.table import LAYERS
from mmbd.formats.keras.weights import snake
from mmbd.model import activations, head

CLOSE = 2e-6
FILES = [*((name, ".keras") for name in keras_models.NAMES)]
FILES += [(path.stem, ".h5") for path in sorted(keras_models.FOLDER.glob("*.h5"))]


def answers(graph: Graph, name: str) -> list[Tensor]:
    given = inputs(name)
    given = given.movedim(-1, 1) if graph.module.turned else given
    with torch.no_grad():
        found = graph.module(given)
    return list(found.values()) if isinstance(found, dict) else [found]


def same(graph: Graph, name: str, close: float = CLOSE) -> None:
    for number, found in enumerate(answers(graph, name)):
        wanted = expected(name, number)
        ends = [note.split()[1] for note in graph.notes if "is left out" in note]
        if "softmax" in ends and bool((wanted.sum(-1) - 1).abs().max() < 1e-3):
            found = found.softmax(-1)
        if "sigmoid" in ends:
            found = found.sigmoid() if wanted.shape[1] > 1 else found.softmax(-1)[:, 1:]
        assert torch.allclose(found, wanted, atol=close), (found - wanted).abs().max()
        assert float(wanted.std(0).max()) > 1e-4  # it tells inputs apart


@pytest.mark.parametrize(("name", "suffix"), FILES)
def test_it_answers_as_keras_does(name: str, suffix: str) -> None:
    same(built(saved(name, suffix)), name)


@pytest.mark.parametrize("name", ["cnn", "residual", "recurrent", "nested"])
def test_files_of_keras_2_answer_alike(name: str) -> None:
    same(built(keras_models.as_keras2(name)), name)


@pytest.mark.parametrize("name", ["recurrent", "residual"])
def test_archives_of_keras_2_answer_alike(name: str) -> None:
    same(built(keras_models.archive(config(name), keras_models.before_3(name))), name)


@pytest.mark.parametrize("name", ["attention", "nested"])
def test_arrays_are_those_that_h5py_reads(name: str) -> None:
    found = Hdf5(saved(name, ".h5")).arrays("model_weights")
    arrays: dict[str, Any] = {}
    with h5py.File(keras_models.FOLDER / f"{name}.h5") as file:
        file["model_weights"].visititems(
            lambda path, held: arrays.update({path: held[()]}) if isinstance(held, h5py.Dataset) else None
        )
    assert found.keys() == arrays.keys()
    assert all(torch.equal(found[path], torch.from_numpy(array)) for path, array in arrays.items())


def test_keras_2_has_a_hard_sigmoid_of_its_own() -> None:
    values = torch.tensor([[-3.0, -1.0, 0.5, 2.0]])
    weights = keras_models.dense_weights()
    described = dense(activation="hard_sigmoid")
    net, other = (
        built(keras_models.archive(described, weights, version=version)) for version in ("3.0.0", "2.9.0")
    )
    linear = built(keras_models.archive(dense(), weights)).module(values)
    assert torch.allclose(net.module(values), torch.clamp(linear / 6 + 0.5, 0, 1))
    assert torch.allclose(other.module(values), torch.clamp(linear * 0.2 + 0.5, 0, 1))


def test_what_was_tested_covers_the_table() -> None:
    met: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            met.add(str(value.get("class_name")))
            list(map(walk, value.values()))
        elif isinstance(value, list):
            list(map(walk, value))

    for name in keras_models.NAMES:
        walk(config(name))
    idle = {name for name in LAYERS if name.startswith(("Random", "Gaussian", "Spatial", "Alpha"))}
    others = {
        *(
            "Embedding",
            "ThresholdedReLU",
            "RMSNormalization",
            "SyncBatchNormalization",
            "Minimum",
            "Identity",
        ),
        *("BatchNormalizationV1", "BatchNormalizationV2", "ActivityRegularization", "DepthwiseConv1D"),
        *("MaxPooling1D", "AveragePooling3D", "GlobalMaxPooling1D", "GlobalAveragePooling3D", "Cropping3D"),
        *("UpSampling3D", "LayerScale", "StochasticDepth"),
    }
    synonyms = {name for name in LAYERS if name.startswith(("Convolution", "SeparableConvolution"))}
    synonyms |= {name for name in LAYERS if "MaxPool" in name or "AvgPool" in name} - met
    assert set(LAYERS) - met <= idle | others | synonyms


def test_images_come_with_their_channels_first() -> None:
    graph = built(saved("cnn"))
    assert graph.input_shape == (3, 12, 12)
    assert graph.bounds == (0.0, 255.0)
    assert any("channels, height, width" in note for note in graph.notes)
    assert built(saved("first")).input_shape == (3, 9, 9)
    assert built(saved("recurrent")).input_shape == (7, 4)
    assert built(saved("one")).input_shape == (2, 32)


def test_probabilities_at_the_end_are_left_out() -> None:
    def tall(described: dict[str, Any]) -> None:
        layer(described, "Dense")["config"]["activation"] = "linear"

    with_end, without = built(saved("cnn")), built(changed("cnn", tall))
    assert torch.equal(answers(with_end, "cnn")[0], answers(without, "cnn")[0])
    assert any("softmax" in note for note in with_end.notes)
    assert not any("softmax" in note for note in without.notes)
    kept = built(saved("cnn"), ends_in="softmax")
    assert torch.allclose(answers(kept, "cnn")[0], expected("cnn"), atol=CLOSE)


def test_one_sigmoid_is_two_classes() -> None:
    (logits,) = answers(built(saved("binary")), "binary")
    assert logits.shape == (2, 2)
    assert torch.allclose(logits[:, 1] - logits[:, 0], torch.logit(expected("binary"))[:, 0], atol=1e-5)


def test_a_file_loads_as_a_classifier(tmp_path: Path) -> None:
    for name in ("cnn.keras", "residual.h5"):
        (tmp_path / name).write_bytes((keras_models.FOLDER / name).read_bytes())
        loaded = mmbd.load(tmp_path / name)
        assert loaded.classifier.classes == expected(name.partition(".")[0]).shape[1]
        assert loaded.model.format.startswith("Keras")
        assert "3.15" in loaded.model.format
        point = loaded.classifier.domain.sample(torch.Generator().manual_seed(0))[None].requires_grad_()
        loaded.classifier(point)[0, 1].backward()
        assert point.grad is not None
        assert float(point.grad.abs().max()) > 0
    with pytest.raises(Failed, match="leave --arch out"):
        mmbd.load(tmp_path / "cnn.keras", arch="lenet")


def test_one_of_several_outputs_is_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(saved("several"))
    assert mmbd.load(tmp_path / "m.keras", output="a").classifier.classes == 3
    assert mmbd.load(tmp_path / "m.keras", output="b").classifier.classes == 4
    with pytest.raises(mmbd.NotEvaluable, match="--output"):
        mmbd.load(tmp_path / "m.keras")


def test_activations_and_the_last_layer_are_seen(tmp_path: Path) -> None:
    """As in a network of torch: by channel on axis 1, and features that were pooled over all places."""
    (tmp_path / "m.keras").write_bytes(saved("residual"))
    classifier = mmbd.load(tmp_path / "m.keras").classifier
    found = activations.find(classifier)
    assert [(each.channels, each.axis, each.shape) for each in found] == [
        (4, 1, (4, 6, 5)),
        (5, 1, (5, 4, 3)),
    ]
    last = head.find(classifier)
    assert last.weight.shape == (6, 5)
    assert last.pooled


@pytest.mark.parametrize("name", ["cnn", "recurrent", "nested"])
def test_weights_alone_go_with_a_description(name: str, tmp_path: Path) -> None:
    (tmp_path / "net.weights.h5").write_bytes(keras_models.weights(name))
    (tmp_path / "net.json").write_text(json.dumps(config(name)))
    arch = str(tmp_path / "net.json")
    same(built(keras_models.weights(name), arch=arch), name)
    loaded = mmbd.load(tmp_path / "net.weights.h5", arch=arch, input_shape=None)
    assert loaded.classifier.classes == expected(name).shape[1]
    with pytest.raises(Failed, match=r"not the model: .*--arch model\.json"):
        mmbd.load(tmp_path / "net.weights.h5")
    with pytest.raises(Failed, match=r"none\.json"):
        mmbd.load(tmp_path / "net.weights.h5", arch=str(tmp_path / "none.json"))


def test_weights_of_another_model_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps(config("cnn")))
    with pytest.raises(Failed, match=r"has the shape|has no|no use for|was cut short"):
        built(keras_models.weights("residual"), arch=str(tmp_path / "net.json"))


def test_arguments_that_change_a_layer_are_not_lost() -> None:
    """A number beside a tensor, a mask, a state: told, where they are not known."""

    def call(described: dict[str, Any], kind: str, **kwargs: Any) -> None:
        layer(described, kind)["inbound_nodes"][0]["kwargs"] = kwargs

    with pytest.raises(Refused, match="training=True"):
        built(changed("residual", lambda each: call(each, "BatchNormalization", training=True)))
    ref = copy.deepcopy(layer(config("recurrent"), "GRU")["inbound_nodes"][0]["args"][0])
    with pytest.raises(Refused, match="is called with initial_state"):
        built(changed("recurrent", lambda each: call(each, "GRU", initial_state=[ref])))
    with pytest.raises(Refused, match="attention_mask"):
        built(changed("named", lambda each: call(each, "MultiHeadAttention", attention_mask=ref)))


def test_the_names_of_keras_3_are_its_classes() -> None:
    assert [snake(kind) for kind in ("Conv2DTranspose", "ELU", "GRU", "MultiHeadAttention", "PReLU")] == [
        "conv2d_transpose",
        "elu",
        "gru",
        "multi_head_attention",
        "p_re_lu",
    ]


def test_an_archive_is_known_by_its_first_members() -> None:
    data = saved("cnn")
    assert is_archive(data)
    assert is_archive(data[:400])
    assert not is_archive(data.replace(b"config.json", b"konfig.json"))
    assert read_archive(data).format == "Keras archive (Keras 3.15.1)"


def functional(*layers: dict[str, Any], end: str) -> dict[str, Any]:
    """A model as Keras 2 describes it: an input of 4 numbers, a Dense layer to 3, and more layers."""
    start, last = dense()["config"]["layers"]
    start |= {"name": "input", "inbound_nodes": []}
    last |= {"name": "dense", "inbound_nodes": [[["input", 0, 0, {}]]]}
    held = {"name": "net", "layers": [start, last, *layers]}
    held |= {"input_layers": [["input", 0, 0]], "output_layers": [[end, 0, 0]]}
    return {"class_name": "Functional", "config": held}


def test_functions_that_keras_2_was_called_with() -> None:
    def called(name: str, function: str, source: str, **more: Any) -> dict[str, Any]:
        settings = {"name": name, "function": function}
        nodes = [[source, 0, 0, {"name": None, **more}]]
        return {"class_name": "TFOpLambda", "name": name, "config": settings, "inbound_nodes": nodes}

    half = called("half", "math.multiply", "dense", y=0.5)
    added = called("added", "__operators__.add", "half", y=["dense", 0, 0])
    less = called("less", "math.subtract", "added", y=1)
    weights = keras_models.dense_weights()
    values = torch.rand(5, 4)
    linear = built(keras_models.archive(dense(), weights)).module(values)
    net = built(keras_models.archive(functional(half, added, less, end="less"), weights)).module
    assert torch.allclose(net(values), linear * 1.5 - 1)
    for bad, told in (
        (called("half", "io.read_file", "dense"), r"TFOpLambda io\.read_file \(half\)"),
        (called("half", "math.multiply", "dense", y=[1, 2, 3]), "arguments that mmbd does not know"),
    ):
        data = keras_models.archive(functional(bad, end="half"), weights)
        with pytest.raises(Refused, match=told):
            built(data)


def test_the_network_can_be_copied(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(saved("residual"))
    network = mmbd.load(tmp_path / "m.keras").classifier.model
    assert isinstance(network, torch.nn.Module)
    again = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    points = torch.rand(3, 3, 11, 9)
    assert torch.equal(again(points), network(points))
