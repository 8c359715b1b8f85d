"""The nodes of a graph as operations that may be gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmbd.formats.gates import AFFINE, COMPARISON, OTHER, PLACEWISE, Gates, Operation
from mmbd.formats.onnx.graph import Plan
from mmbd.formats.onnx.node import Node
from mmbd.formats.onnx.step import Step, as_sizes

COMPARISONS = {"Greater", "Less", "GreaterOrEqual", "LessOrEqual"}
LINEAR = {"Add", "Sub", "Mul", "Div", "Neg", "Identity", "Sum"}
PLACE_BY_PLACE = {
    *("Abs", "Sqrt", "Reciprocal", "Exp", "Log", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh"),
    *("Cosh", "Asinh", "Acosh", "Atanh", "Not", "Pow", "And", "Or", "Xor", "Max", "Min", "Mean", "Where"),
    *("Clip", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish"),
    *("Tanh", "Softplus", "Softsign", "Gelu", "Mish", "Swish", "Shrink", "Cast", "CastLike", "Dropout"),
}
ALONG = {"ReduceL1", "ReduceL2", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSumSquare"}
# Over so few numbers a normalisation gives little more than their signs.
FEW = {"LpNormalization": 1, "RMSNormalization": 1, "LayerNormalization": 2}

Shapes = Mapping[str, Sequence[int]]


def gates(plan: Plan, shapes: Shapes, spread: Mapping[str, float]) -> Gates:
    """The graph's comparisons and steep operations, looked at.

    Args:
        plan: the graph, of what its logits need alone.
        shapes: of all values, for one input.
        spread: the standard deviation of the numbers of values, for an input that was made up.
    """
    made = [_operation(node, plan, shapes) for node in plan.nodes if any(node.outputs)]
    return Gates(made, plan.constants, plan.given.name, plan.outputs, shapes, spread)


def few(plan: Plan, shapes: Shapes) -> list[str]:
    """Normalisations of so few numbers that they are steps."""
    found: list[str] = []
    for node in plan.nodes:
        shape = shapes.get(node.inputs[0], ()) if node.inputs else ()
        if node.op not in FEW or not shape:
            continue
        axis = node.axis(node.integer("axis", -1), len(shape))
        count = shape[axis] if node.op == "LpNormalization" else math.prod(shape[axis:])
        if count <= FEW[node.op]:
            found.append(str(node))
    return found


def _operation(node: Node, plan: Plan, shapes: Shapes) -> Operation:
    fixed = {
        place: as_sizes(plan.constants[name])
        for place, name in enumerate(node.inputs)
        if name in plan.constants and plan.constants[name].numel() <= 1
    }
    step = Step(node, fixed)

    def run(known: Mapping[str, Any]) -> Any:
        found = step(*[known[name] if name else None for name in node.inputs])
        return found[0] if isinstance(found, tuple) else found

    sides = (node.inputs[0], node.inputs[1]) if node.op in COMPARISONS and len(node.inputs) == 2 else None
    inputs = tuple(name for name in node.inputs if name)
    return Operation(str(node), inputs, node.outputs[0], _kind(node, plan, shapes), run, sides)


def _kind(node: Node, plan: Plan, shapes: Shapes) -> str:
    if node.op in COMPARISONS:
        return COMPARISON
    own = [name for name in node.inputs if name and name not in plan.constants]
    if node.op in LINEAR:
        below = node.op == "Div" and node.inputs[1] not in plan.constants
        return AFFINE if len(own) == 1 and not below and node.opset >= 7 else PLACEWISE
    if node.op in PLACE_BY_PLACE:
        return PLACEWISE
    sizes = [math.prod(shapes[name]) for name in (*own, *node.outputs[:1]) if name in shapes]
    alike = len(sizes) == 2 and sizes[0] == sizes[1]
    return PLACEWISE if node.op in ALONG and alike else OTHER
