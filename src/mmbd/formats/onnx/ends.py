"""The end of a graph: which output holds the logits, and what turns logits into probabilities there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text, listed
from mmbd.formats.onnx.graph import Plan
from mmbd.formats.onnx.node import Node

# What only rearranges numbers, or leaves them as they are.
THROUGH = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Dropout"}
SOFT = {"Softmax", "LogSoftmax", "Sigmoid"}
LABELS = {"ArgMax", "TopK"}

Shapes = Mapping[str, tuple[int, ...]]


class End(NamedTuple):
    """A graph that ends in logits, whether there is one logit only, and a sentence on what was left off."""

    plan: Plan
    single: bool = False
    note: str = ""


def likely(plan: Plan, shapes: Shapes, decimals: set[str]) -> tuple[str, ...]:
    """The output that holds the logits, where all others are computed from it (a label, probabilities).

    Args:
        plan: the graph.
        shapes: of all values, for one input.
        decimals: the values that are floating-point numbers.

    Raises:
        Failed: several outputs, of which none is what all others are computed from.
    """
    if len(plan.outputs) == 1:
        return plan.outputs
    makers = plan.makers()
    for name in plan.outputs:
        longer = sum(length > 1 for length in shapes.get(name, ()))
        if name not in decimals or longer > 1 or not shapes.get(name, ()):
            continue
        own = _sources(name, makers, {*THROUGH, *SOFT})
        others = [_sources(other, makers, {*THROUGH, *SOFT, *LABELS}) for other in plan.outputs]
        last = own[-1]
        # The logits themselves, or their softmax where these are no output.
        if all(name in other or last in other for other in others) and not _later(name, plan, makers):
            return (name,)
    told = [
        f"{clean_text(name, 60)!r} of shape ({', '.join(['n', *map(str, shapes.get(name, ())[1:])])})"
        for name in plan.outputs
    ]
    raise Failed(
        f"the ONNX graph has {len(told)} outputs, and any may hold the logits: {listed(told, 20)}; choose "
        "with --output (output= in Python), by name or number"
    )


def _sources(name: str, makers: Mapping[str, Node], through: set[str]) -> list[str]:
    """The value, and those that it is computed from by such operators alone."""
    found = [name]
    while name in makers and makers[name].op in through:
        name = makers[name].inputs[0]
        found.append(name)
    return found


def _later(name: str, plan: Plan, makers: Mapping[str, Node]) -> bool:
    """Whether the value is computed from another output, which then is nearer to the logits."""
    return bool({*_sources(name, makers, {*THROUGH, *SOFT})[1:]} & {*plan.outputs})


def without(plan: Plan, shapes: Shapes) -> End:
    """The graph without a softmax, or a sigmoid of one number, at its end."""
    makers = plan.makers()
    name = plan.outputs[0]
    uses = [each for node in plan.nodes for each in node.inputs]
    while name in makers and makers[name].op in THROUGH and uses.count(name) <= 1:
        name = makers[name].inputs[0]
    end = makers.get(name)
    if end is None or uses.count(name) > 1:
        return End(plan)
    shape = shapes.get(name, ())
    if end.op == "Softmax" and _whole(end, shape):
        return End(
            _instead(plan, end, end.inputs[0]), False, f"its last {end} was left off: logits go into it"
        )
    if end.op == "Sigmoid" and math.prod(shape) == 1:
        return End(
            _instead(plan, end, end.inputs[0]),
            True,
            f"its last {end} of one number was left off: the logits are 0 and what goes into it",
        )
    if end.op == "Div" and len(end.inputs) == 2:
        power, total = (makers.get(each) for each in end.inputs)
        written = power is not None and total is not None and (power.op, total.op) == ("Exp", "ReduceSum")
        summed = shapes.get(end.inputs[1], ())
        if written and total and power and total.inputs[0] == end.inputs[0] and math.prod(summed) == 1:
            return End(
                _instead(plan, end, power.inputs[0]), False, "the softmax that it ends in was left off"
            )
    return End(plan)


def _whole(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether a softmax is along all numbers of an input, more than one."""
    count = math.prod(shape)
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    if not -len(shape) <= axis < len(shape):
        return False
    own = shape[axis] if node.opset >= 13 else math.prod(shape[axis:])
    return own == count > 1


def _instead(plan: Plan, end: Node, value: str) -> Plan:
    """The graph where a node hands on `value` as it is."""
    same = Node(end.name, "Identity", end.opset, (value,), end.outputs[:1])
    nodes = tuple(same if node is end else node for node in plan.nodes)
    return replace(plan, nodes=nodes).reduced(plan.outputs)
