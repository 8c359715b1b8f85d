"""What may hide a backdoor from a search along gradients brings a doubt; ordinary networks bring none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto

import mmbd
from helpers.onnx_files import answers, built, model, node, values
from mmbd.base.errors import Failed

FILES = Path(__file__).parent / "files"
WEIGHTS = {
    "d": values(5, 64),
    "e": values(5),
    "bad": values(5),
    "one": np.array([1]),
    "high": np.float32(60),
    "k": np.array([3]),
    "table": values(64, 5),
}
HEAD = [node("Flatten", "x", "f"), node("Gemm", "f d e", "good", transB=1)]
SUM = node("ReduceSum", "f one", "s", keepdims=1)
SHAPE = ["n", 1, 8, 8]


def doubts(*nodes: object, **more: object) -> tuple[str, ...]:
    return built(model([*HEAD, *nodes], SHAPE, WEIGHTS), **more).doubts


@pytest.mark.parametrize(
    "nodes",
    [
        [SUM, node("Greater", "s high", "c", name="gate"), node("Where", "c bad good", "y")],
        [SUM, node("Div", "s high", "q"), node("Floor", "q", "g", name="gate"), node("Add", "good g", "y")],
        [
            node("Cast", "f", "w", to=7, name="gate"),
            node("Cast", "w", "v", to=1),
            node("Gemm", "v d good", "y", transB=1),
        ],
        [
            node("ArgMax", "f", "i", axis=1, keepdims=0),
            node("Gather", "table i", "t", axis=0, name="gate"),
            node("Add", "good t", "y"),
        ],
        [
            node("ArgMax", "f", "i", axis=1),
            node("Cast", "i", "t", to=1, name="gate"),
            node("Add", "good t", "y"),
        ],
    ],
)
def test_a_branch_is_a_doubt_that_names_it(nodes: list[object]) -> None:
    (said,) = doubts(*nodes)
    assert "a search along gradients sees nothing" in said
    assert "'gate'" in said


def test_indices_of_the_data_themselves_are_none() -> None:
    nodes = [
        node("TopK", "good k", "v i"),
        node("GatherElements", "good i", "t", axis=1),
        node("ReduceMean", "t one", "m", keepdims=1),
        node("Add", "good m", "y"),
    ]
    assert doubts(*nodes) == ()


@pytest.mark.parametrize("name", ["bounded", "attention"])
def test_an_exported_network_brings_none(name: str) -> None:
    assert mmbd.load(FILES / f"{name}.onnx").doubts == ()


@pytest.mark.parametrize(("kind", "word"), [(11, "double"), (10, "half"), (16, "bfloat16")])
def test_another_precision_in_the_middle_is_a_doubt(kind: int, word: str) -> None:
    (said,) = doubts(node("Cast", "good", "c", to=kind, name="wide"), node("Cast", "c", "y", to=1))
    assert word in said
    assert "'wide'" in said


def test_one_precision_throughout_is_a_note() -> None:
    tensors = {
        name: value.astype(np.float16) if value.dtype == np.float32 else value
        for name, value in WEIGHTS.items()
    }
    graph = built(model([*HEAD, node("Cast", "good", "y", to=10)], SHAPE, tensors, kind=TensorProto.FLOAT16))
    assert graph.doubts == ()


@pytest.mark.parametrize("opset", [9, 13])
def test_normalisation_with_further_outputs_is_training(opset: int) -> None:
    tensors = {name: values(1, low=0.5) for name in ("a", "b", "m", "v")}
    norm = node("BatchNormalization", "x a b m v", "h m2 v2 m3 v3")
    nodes = [norm, node("Flatten", "h", "f"), node("Gemm", "f d e", "y", transB=1)]
    with pytest.raises(Failed, match="statistics of the batch"):
        built(model(nodes, SHAPE, {**WEIGHTS, **tensors}, opset=opset))


def test_outputs_are_chosen_only_where_the_others_follow_from_one() -> None:
    label = [node("ArgMax", "y", "label", axis=1), node("Softmax", "y", "p")]
    nodes = [*HEAD, node("Identity", "good", "y"), *label]
    for outputs, chosen in ((("p", "label", "y"), "y"), (("label", "p"), "p")):
        graph = built(model(nodes, SHAPE, WEIGHTS, outputs=outputs))
        assert f"{chosen!r} may be logits" in graph.notes[0]
    # A second head of one number is no less a candidate than one of five.
    other = [*HEAD, node("Identity", "good", "y"), node("ReduceSum", "f one", "z", keepdims=1)]
    for outputs in (("y", "z"), ("z", "y")):
        with pytest.raises(Failed, match=r"'z' of shape \(n, 1\).*choose with --output"):
            built(model(other, SHAPE, WEIGHTS, outputs=outputs))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_corners_are_aligned_by_whole_lengths(mode: str) -> None:
    nodes = [
        node("Resize", "x - by", "r", mode=mode, coordinate_transformation_mode="align_corners"),
        node("Flatten", "r", "f2"),
        node("Gemm", "f2 d3", "y", transB=1),
    ]
    tensors = {"by": np.array([1, 1, 1.3, 1.45], np.float32), "d3": values(5, 110)}
    file = model(nodes, SHAPE, tensors)
    images = values(2, 1, 8, 8, seed=5)
    found = built(file).module(torch.from_numpy(images))
    assert torch.allclose(found, answers(file, images), atol=1e-5)
