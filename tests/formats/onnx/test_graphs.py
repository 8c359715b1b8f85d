"""Whole graphs: what goes in, what comes out, how many at a time, and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto

import mmbd
from helpers.onnx_files import answers, built, model, node, values
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.formats.options import LoadOptions
from mmbd.model import activations
from mmbd.model.bounded import Bounded, Limit
from mmbd.model.classifier import Classifier

WEIGHTS = {"w": values(4, 3, 3, 3), "b": values(4), "d": values(5, 64), "e": values(5)}
CONV = node("Conv", "x w b", "c", pads=[1, 1, 1, 1], strides=[2, 2])
RELU = node("Relu", "c", "r", name="act")
DENSE = node("Gemm", "f d e", "y", transB=1)
FLAT = node("Flatten", "r", "f")
BASE = [CONV, RELU, FLAT, DENSE]
SHAPE = ["n", 3, 8, 8]
IMAGES = torch.from_numpy(values(3, 3, 8, 8, seed=3))


def reference(images: torch.Tensor = IMAGES) -> torch.Tensor:
    return answers(model(BASE, SHAPE, WEIGHTS), images.numpy())


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_small_network() -> None:
    graph = built(model(BASE, SHAPE, WEIGHTS))
    assert graph.input_shape == (3, 8, 8)
    assert graph.name == "ONNX graph (1 Conv, 1 Gemm)"
    assert graph.notes == ()
    assert close(graph.module(IMAGES), reference())


def test_gradients_are_those_of_finite_differences() -> None:
    graph = built(
        model([*BASE[:3], node("Gemm", "f d e", "g", transB=1), node("Tanh", "g", "y")], SHAPE, WEIGHTS)
    )
    module = graph.module.double()
    point = IMAGES[:1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module(x), (point,), eps=1e-6, atol=1e-5, fast_mode=True)


def test_activations_are_found_by_the_names_of_nodes_and_can_be_bounded() -> None:
    classifier = Classifier(built(model(BASE, SHAPE, WEIGHTS)).module, input_shape=(3, 8, 8))
    (found,) = activations.find(classifier)
    assert found.name.endswith("act")
    assert (found.channels, found.axis, found.shape) == (4, 1, (4, 4, 4))
    bounded = Bounded(classifier.model, [Limit(found, torch.full((4,), 0.1))])
    assert not close(bounded(IMAGES), reference())


def test_a_relu_written_as_a_clip_is_an_activation() -> None:
    clip = node("Clip", "c low high", "r")
    tensors = {**WEIGHTS, "low": np.float32(0), "high": np.float32(6)}
    classifier = Classifier(
        built(model([CONV, clip, FLAT, DENSE], SHAPE, tensors)).module, input_shape=(3, 8, 8)
    )
    assert len(activations.find(classifier)) == 1


@pytest.mark.parametrize(
    "end",
    [
        [node("Softmax", "g", "y", axis=1)],
        [node("Softmax", "g", "s"), node("Identity", "s", "y")],
        [node("Softmax", "g", "s"), node("Reshape", "s to", "y")],
        [node("Exp", "g", "p"), node("ReduceSum", "p one", "s"), node("Div", "p s", "y")],
    ],
)
def test_a_softmax_at_the_end_is_left_off(end: list[object]) -> None:
    nodes = [*BASE[:3], node("Gemm", "f d e", "g", transB=1), *end]
    tensors = {**WEIGHTS, "to": np.array([-1, 5]), "one": np.array([1])}
    graph = built(model(nodes, SHAPE, tensors))
    assert close(graph.module(IMAGES), reference())
    assert "left off" in graph.notes[0]
    kept = built(model(nodes, SHAPE, tensors), LoadOptions(ends_in="softmax"))
    assert torch.allclose(kept.module(IMAGES).sum(1), torch.ones(3), atol=1e-5)


def test_a_softmax_inside_or_along_another_axis_stays() -> None:
    inside = [
        node("Softmax", "x", "s", axis=2),
        node("Flatten", "s", "f"),
        node("Gemm", "f d e", "y", transB=1),
    ]
    graph = built(model(inside, ["n", 1, 8, 8], WEIGHTS))
    assert graph.notes == ()


def test_one_sigmoid_becomes_two_logits() -> None:
    nodes = [*BASE[:3], node("Gemm", "f d1 e1", "g", transB=1), node("Sigmoid", "g", "y")]
    file = model(nodes, SHAPE, {**WEIGHTS, "d1": values(1, 64), "e1": values(1)})
    found = built(file).module(IMAGES)
    assert close(found.softmax(1)[:, 1:], answers(file, IMAGES.numpy()))


def test_channels_last_are_put_first() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w b", "c", pads=[1] * 4, strides=[2, 2]),
    ]
    for shape in (["n", 8, 8, 3], ["n", None, None, 3]):
        graph = built(model([*nodes, *BASE[1:]], shape, WEIGHTS), LoadOptions(input_shape=(3, 8, 8)))
        assert close(graph.module(IMAGES), reference())
        assert "channels last" in graph.notes[0]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([CONV, RELU, node("Reshape", "r flat", "f"), DENSE], "which were changed"),
        (
            [CONV, RELU, node("Reshape", "r four", "q"), node("Flatten", "q", "f"), DENSE],
            "which were changed",
        ),
        (
            [CONV, RELU, node("Squeeze", "r zero", "q"), node("Reshape", "q flat", "f"), DENSE],
            "input by input",
        ),
    ],
)
def test_a_batch_of_one_written_into_the_graph(nodes: list[object], said: str) -> None:
    tensors = {"flat": np.array([1, -1]), "four": np.array([1, 4, 4, 4]), "zero": np.array([0])}
    graph = built(model(nodes, [1, 3, 8, 8], {**WEIGHTS, **tensors}))
    assert said in " ".join(graph.notes)
    images = IMAGES.clone().requires_grad_()
    found = Classifier(graph.module, input_shape=(3, 8, 8), bounds=(-1, 1))(images)
    assert close(found.detach(), reference())
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert bool(gradient.abs().sum((1, 2, 3)).gt(0).all())


def test_shapes_computed_in_the_graph_follow_the_batch() -> None:
    nodes = [
        CONV,
        RELU,
        node("Shape", "r", "s"),
        node("Gather", "s first", "n"),
        node("Unsqueeze", "n first1", "u"),
        node("Concat", "u rest", "to", axis=0),
        node("Reshape", "r to", "f"),
        DENSE,
    ]
    tensors = {"first": np.array(0), "first1": np.array([0]), "rest": np.array([64])}
    graph = built(model(nodes, SHAPE, {**WEIGHTS, **tensors}))
    assert graph.notes == ()
    assert close(graph.module(IMAGES), reference())


def test_several_outputs() -> None:
    nodes = [*BASE, node("ArgMax", "y", "label", axis=1)]
    graph = built(model(nodes, SHAPE, WEIGHTS, outputs=("label", "y")))
    assert close(graph.module(IMAGES), reference())  # the only one that may be logits
    both = [*BASE, node("Neg", "y", "z")]
    file = model(both, SHAPE, WEIGHTS, outputs=("z", "y"))
    with pytest.raises(Failed, match=r"'z' of shape \(n, 5\).*choose with --output"):
        built(file)
    for wanted, sign in (("y", 1), (1, 1), ("0", -1), ("z", -1)):
        module = built(file, LoadOptions(output=wanted)).module
        logits = Classifier(module, input_shape=(3, 8, 8), output=wanted)(IMAGES)
        assert close(logits.detach(), sign * reference())
    with pytest.raises(Failed, match="no output 'nn'; it has: z, y"):
        built(file, LoadOptions(output="nn"))


def test_inputs_that_are_no_decimals() -> None:
    cast = [node("Cast", "x", "m", to=1), node("Flatten", "m", "f"), DENSE]
    graph = built(model(cast, ["n", 1, 8, 8], WEIGHTS, kind=TensorProto.UINT8))
    assert graph.bounds == (0.0, 255.0)
    with pytest.raises(NotEvaluable, match="int64"):
        built(model(cast, ["n", 1, 8, 8], WEIGHTS, kind=TensorProto.INT64))


def test_half_precision_is_computed_in_float32() -> None:
    tensors = {name: value.astype(np.float16) for name, value in WEIGHTS.items()}
    graph = built(model(BASE, SHAPE, tensors, kind=TensorProto.FLOAT16))
    assert graph.module(IMAGES).dtype == torch.float32
    assert torch.allclose(graph.module(IMAGES), reference(), atol=0.05)


def test_sizes_that_are_open_are_asked_for(tmp_path) -> None:
    (tmp_path / "m.onnx").write_bytes(model(BASE, ["n", 3, "h", "w"], WEIGHTS).SerializeToString())
    with pytest.raises(Failed, match="--input"):
        mmbd.load(tmp_path / "m.onnx")
    loaded = mmbd.load(tmp_path / "m.onnx", input_shape=(3, 8, 8))
    assert close(loaded.classifier(IMAGES).detach(), reference())
    assert loaded.model.format == "ONNX"
    with pytest.raises(Failed, match="does not take inputs"):
        mmbd.load(tmp_path / "m.onnx", input_shape=(3, 9, 20))


def test_class_names_in_the_metadata_where_they_fit() -> None:
    for names, found in (
        ('["a", "b", "c", "d", "e"]', tuple("abcde")),
        ('["a"]', None),
        ("{'0': 'a'}", None),
    ):
        graph = built(model(BASE, SHAPE, WEIGHTS, metadata={"class_names": names}))
        assert graph.class_names == found


@pytest.mark.parametrize("opset", [1, 6, None])
def test_the_first_versions(opset: int | None) -> None:
    """Broadcasts by axis, shapes and pads as attributes, initializers as inputs, no version at all."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Add", "c b", "a", broadcast=1, axis=1),
        node("Relu", "a", "r"),
        node("Dropout", "r", "k", ratio=0.5, is_test=1),
        node("Reshape", "k", "f", shape=[0, -1]) if opset != 6 else node("Flatten", "k", "f"),
        node("Gemm", "f d e", "y", transB=1, broadcast=1),
    ]
    file = model(nodes, SHAPE, WEIGHTS, opset=opset, ir=1 if opset is None else 3)
    for each in file.graph.node:
        for attribute in each.attribute:
            if opset is None:
                attribute.ClearField("type")
    file.graph.input.extend(model(BASE, [4], name="b").graph.input)
    assert close(built(file).module(IMAGES), reference())


def test_nodes_need_not_be_in_order() -> None:
    assert close(built(model(BASE[::-1], SHAPE, WEIGHTS)).module(IMAGES), reference())
