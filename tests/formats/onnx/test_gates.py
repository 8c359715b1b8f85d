"""What jumps is a gate, however it is written; what is continuous is none, however it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.onnx_files import built, model, node, values

SHAPE = ["n", 1, 8, 8]
TENSORS = {
    "d": values(6, 64),
    "e": values(6),
    "d2": values(5, 6),
    "e2": values(5),
    "one": np.array([1]),
    "zero": np.float32(0),
    "unit": np.float32(1),
    "half": np.float32(0.5),
    "ten": np.float32(10),
    "two": np.float32([1, 2, 3, 1, 2, 3]),
    "slope": np.float32(0.01),
    "least": np.float32(1e-9),
    "huge": np.float32(1e5),
    "far": np.float32(60),
    "near": np.float32(0.5000001),
}
HEAD = [node("Flatten", "x", "f"), node("Gemm", "f d e", "h", transB=1)]
TAIL = [node("Gemm", "g d2 e2", "y", transB=1)]
POSITIVE = node("Greater", "h zero", "c")
FAR = [node("ReduceSum", "f one", "s", keepdims=1), node("Sub", "s far", "t"), node("Mul", "t huge", "u")]

STAGES = [("Mul", "h", "m1"), ("Tanh", "m1", "t1")]
for stage in (1, 2, 3):
    STAGES += [("Mul", f"t{stage}", f"m{stage + 1}"), ("Tanh", f"m{stage + 1}", f"t{stage + 1}")]

SMOOTH: dict[str, list[Any]] = {
    "leaky relu": [POSITIVE, node("Mul", "h slope", "l"), node("Where", "c h l", "g")],
    "relu by a product": [POSITIVE, node("Cast", "c", "m", to=1), node("Mul", "m h", "g")],
    "turned round": [
        node("Less", "h zero", "c"),
        node("Not", "c", "n"),
        node("Mul", "h slope", "l"),
        node("Where", "n h l", "g"),
    ],
    "elu": [POSITIVE, node("Exp", "h", "p"), node("Sub", "p unit", "q"), node("Where", "c h q", "g")],
    "thresholds by channel": [
        node("Mul", "h two", "k"),
        node("Sub", "k half", "j"),
        node("GreaterOrEqual", "j zero", "c"),
        node("Where", "c j zero", "g"),
    ],
    "two numbers": [node("Mul", "h slope", "l"), node("Greater", "h l", "c"), node("Where", "c h l", "g")],
    "one in another": [
        POSITIVE,
        node("Where", "c h zero", "r"),
        node("Less", "r unit", "c2"),
        node("Where", "c2 r unit", "g"),
    ],
    "usual ones": [
        node("Sigmoid", "h", "a"),
        node("Tanh", "a", "b"),
        node("Clip", "b zero unit", "c"),
        node("Gelu", "c", "q"),
        node("Exp", "q", "p"),
        node("Reciprocal", "p", "g"),
    ],
}
JUMPING: dict[str, list[Any]] = {
    "a step up": [POSITIVE, node("Add", "h unit", "l"), node("Where", "c h l", "g")],
    "off its threshold": [
        node("Greater", "h half", "c"),
        node("Mul", "h slope", "l"),
        node("Where", "c h l", "g"),
    ],
    "a product": [node("Greater", "h half", "c"), node("Cast", "c", "m", to=1), node("Mul", "m h", "g")],
    "twice used": [
        POSITIVE,
        node("Where", "c h zero", "r"),
        node("Cast", "c", "m", to=1),
        node("Add", "r m", "g"),
    ],
    "a pulse": [
        node("Greater", "h half", "c"),
        node("Less", "h near", "c2"),
        node("And", "c c2", "c3"),
        node("Where", "c3 unit h", "g"),
    ],
    "one way round and the other": [
        POSITIVE,
        node("LessOrEqual", "h zero", "c2"),
        node("Xor", "c c2", "c3"),
        node("Where", "c3 h unit", "g"),
    ],
    "another number decides": [
        node("ReduceSum", "f one", "s", keepdims=1),
        node("Greater", "s far", "c"),
        node("Where", "c h zero", "g"),
    ],
    "by its own size": [node("Abs", "h", "a"), node("Div", "h a", "g")],
    "by its own size, guarded": [
        node("Abs", "h", "a"),
        node("Add", "a least", "b"),
        node("Reciprocal", "b", "r"),
        node("Mul", "h r", "g"),
    ],
    "a steep tanh": [node("Mul", "h huge", "k"), node("Tanh", "k", "g")],
    "steep in stages": [
        *(node(op, f"{x} ten" if op == "Mul" else x, y) for op, x, y in STAGES),
        node("Mul", "t4 h", "g"),
    ],
    "a far sigmoid": [*FAR, node("Sigmoid", "u", "v"), node("Mul", "v h", "g")],
    "two edges": [
        *FAR,
        node("Relu", "u", "a"),
        node("Sub", "u unit", "w"),
        node("Relu", "w", "b"),
        node("Sub", "a b", "v"),
        node("Mul", "v h", "g"),
    ],
    "a steep clip": [*FAR, node("Clip", "u zero unit", "v"), node("Mul", "v h", "g")],
    "the norm of one": [
        node("ReduceSum", "f one", "s", keepdims=1),
        node("LpNormalization", "s", "v"),
        node("Mul", "v h", "g"),
    ],
}


def doubts(nodes: list[Any]) -> tuple[str, ...]:
    return built(model([*HEAD, *nodes, *TAIL], SHAPE, TENSORS)).doubts


@pytest.mark.parametrize("name", SMOOTH)
def test_what_is_continuous_is_no_gate(name: str) -> None:
    assert doubts(SMOOTH[name]) == ()


@pytest.mark.parametrize("name", JUMPING)
def test_what_jumps_is_one(name: str) -> None:
    assert any("branches or steps" in each for each in doubts(JUMPING[name]))


def test_a_graph_of_many_comparisons_is_soon_looked_at() -> None:
    nodes = [node("Greater", "h half", "c")]
    for number in range(400):
        nodes.append(node("Not", "c" if not number else f"n{number - 1}", f"n{number}"))
        nodes.append(node("Greater", "h half", f"c{number}"))
        nodes.append(node("And", f"n{number} c{number}", f"a{number}"))
    nodes += [node("Or", "n399 a399", "o"), node("Where", "o h zero", "g")]
    assert doubts(nodes)
