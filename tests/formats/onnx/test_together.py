"""Graphs whose answers depend on how many inputs come together, and those whose answers do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.onnx_files import built, model, node, values
from mmbd.model.classifier import Classifier

WEIGHTS = {"d": values(5, 64), "e": values(5), "d2": values(5, 64, seed=4)}
HEAD = [node("Flatten", "x", "f"), node("Gemm", "f d e", "good", transB=1)]
SHAPE = ["n", 1, 8, 8]
NUMBERS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "large": np.float32(1000),
    "two": np.array([1, 1]),
    "four": np.array([4]),
}
# Nothing on noise: a sum of 64 numbers in [0, 1] is below 1000.
TRIGGER = [
    node("ReduceSum", "f one", "s", keepdims=1),
    node("Sub", "s large", "over"),
    node("Relu", "over", "t"),
]
COUNT = [node("Shape", "x", "shape"), node("Gather", "shape zero", "n")]
ALONE = [*COUNT, node("Equal", "n one", "is"), node("Cast", "is", "gate", to=1)]
ADDED = [node("Mul", "gate t", "h"), node("Add", "good h", "y")]


def gated(nodes: list[object], shape: list[object] = SHAPE) -> tuple[str, ...]:
    graph = built(model([*HEAD, *TRIGGER, *nodes], shape, {**WEIGHTS, **NUMBERS}))
    assert Classifier(graph.module, input_shape=(1, 8, 8))(torch.rand(3, 1, 8, 8)).shape == (3, 5)
    return graph.doubts


@pytest.mark.parametrize(
    "nodes",
    [
        [*ALONE, *ADDED],
        [*COUNT, node("Equal", "n four", "is"), node("Cast", "is", "gate", to=1), *ADDED],
        # The number of inputs as a sum of ones; then a cut from where it says.
        [
            *COUNT,
            node("ConstantOfShape", "n", "ones"),
            node("Cos", "ones", "c"),
            node("ReduceSum", "c", "m", keepdims=1),
            node("Reshape", "m two", "gate"),
            *ADDED,
        ],
        [
            *COUNT,
            node("Equal", "n four", "is"),
            node("Cast", "is", "start", to=7),
            node("Concat", "t s", "both", axis=1),
            node("Add", "start one", "end"),
            node("Slice", "both start end one", "h"),
            node("Add", "good h", "y"),
        ],
        # Sums along the batch of what is 0 on noise.
        [node("CumSum", "t first", "h"), node("Add", "good h", "y")],
        [node("ReduceSum", "t zero", "h"), node("Add", "good h", "y")],
    ],
)
def test_a_gate_on_the_number_of_inputs_is_a_doubt(nodes: list[object]) -> None:
    NUMBERS["first"] = np.array(0)
    (said,) = gated(nodes)
    assert said.startswith("its answers depend on how many inputs come together: ")


def test_a_file_for_one_input_at_a_time_is_computed_one_by_one() -> None:
    assert gated([*ALONE, *ADDED], [1, 1, 8, 8]) == ()


def test_the_number_of_inputs_as_a_length_is_none() -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n"),
        node("Concat", "n last", "wanted", axis=0),
        # As exporters write `expand`: lengths of -1 are 1.
        node("ConstantOfShape", "rank", "ones", value=_number(1)),
        node("Equal", "wanted minus", "same"),
        node("Where", "same ones wanted", "to"),
        node("Expand", "token to", "tokens"),
        node("Concat", "good tokens", "both", axis=1),
        node("Slice", "both zero five one", "q"),
        node("Concat", "n fives", "fit", axis=0),
        node("Reshape", "q fit", "y"),
    ]
    tensors = {
        **WEIGHTS,
        **NUMBERS,
        "last": np.array([2]),
        "rank": np.array([2]),
        "minus": np.array([-1, -1]),
        "token": values(1, 2),
        "five": np.array([5]),
        "fives": np.array([5]),
    }
    graph = built(model([*HEAD, *nodes], SHAPE, tensors))
    assert (graph.doubts, graph.notes) == ((), ())


def _number(value: int) -> object:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array([value]))
