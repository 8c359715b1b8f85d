"""What exporters write out in several operators, put together again.

A GELU is five nodes in most files and a SiLU two; as one function of torch they are seen as the
activations that they are, and can be bounded. A product with a bias becomes one linear layer, and the two
products of attention one function of torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

from mmbd.formats.onnx.node import Node

MODERN = 7  # from this version on, arithmetic broadcasts without attributes
CLOSE = 1e-3  # as single precision and exporters write 1 / sqrt(2)


class _Graph:
    """The nodes of a graph by what they make and take."""

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Tensor], outputs: Sequence[str]
    ) -> None:
        self.constants = constants
        self.makers = {name: node for node in nodes for name in node.outputs if name}
        self.uses = Counter([*outputs, *(name for node in nodes for name in node.inputs)])
        self.takers = {name: node for node in nodes for name in node.inputs}

    def made(self, name: str, op: str) -> Node | None:
        """The node that makes a value for one other alone, if it is such an operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op == op and self.uses[name] == 1 else None

    def next(self, node: Node | None, op: str) -> Node | None:
        """The only node that takes a node's value, if it is such an operator of two values."""
        if node is None or self.uses[node.outputs[0]] != 1:
            return None
        after = self.takers.get(node.outputs[0])
        plain = after is not None and after.op == op and len(after.inputs) == 2 and not after.attributes
        return after if plain else None

    def other(self, node: Node, name: str) -> str:
        """The other one of a node's two inputs."""
        return node.inputs[1] if node.inputs[0] == name else node.inputs[0]

    def is_number(self, name: str, value: float) -> bool:
        """Whether a value is this constant."""
        found = self.constants.get(name)
        return found is not None and found.numel() == 1 and abs(float(found) - value) < CLOSE * value


def joined(
    nodes: Sequence[Node], constants: Mapping[str, Tensor], outputs: Sequence[str]
) -> tuple[Node, ...]:
    """The nodes with those that belong together as one; what they made before is still made, by nobody used.

    Args:
        nodes: in order.
        constants: tensors by name.
        outputs: names of values that are needed.
    """
    graph = _Graph(nodes, constants, outputs)
    found: dict[int, Node] = {}
    for node in nodes:
        if node.opset < MODERN:
            break
        pair = _gelu(graph, node) or _gated(graph, node) or _linear(graph, node) or _weighed(graph, node)
        if pair is not None:
            last, (op, *inputs), *scale = pair
            attributes = {"scale": scale[0]} if scale else {}
            found[id(last)] = Node(last.name, op, node.opset, tuple(inputs), last.outputs, attributes)
    return tuple(found.get(id(node), node) for node in nodes)


def _gelu(graph: _Graph, node: Node) -> tuple[Node, tuple[str, ...]] | None:
    """X / 2 (1 + erf(x / sqrt(2))), in the three orders in which it is written."""
    if node.op != "Erf":
        return None
    scaled = graph.makers.get(node.inputs[0])
    if scaled is None or scaled.op not in ("Div", "Mul"):
        return None
    x, by = scaled.inputs
    if scaled.op == "Mul" and x in graph.constants:
        x, by = by, x
    if not graph.is_number(by, math.sqrt(2) if scaled.op == "Div" else math.sqrt(0.5)):
        return None
    more = graph.next(node, "Add")
    if more is None or not graph.is_number(graph.other(more, node.outputs[0]), 1.0):
        return None
    first = graph.next(more, "Mul")
    if first is None:
        return None
    other = graph.other(first, more.outputs[0])
    half = graph.made(other, "Mul")
    if half is not None and x in half.inputs and graph.is_number(graph.other(half, x), 0.5):
        return first, ("Gelu", x)
    last = graph.next(first, "Mul")
    if last is None:
        return None
    rest = graph.other(last, first.outputs[0])
    if (other == x and graph.is_number(rest, 0.5)) or (rest == x and graph.is_number(other, 0.5)):
        return last, ("Gelu", x)
    return None


def _gated(graph: _Graph, node: Node) -> tuple[Node, tuple[str, ...]] | None:
    """X sigmoid(x), x tanh(softplus(x)) and x hard_sigmoid(x)."""
    if node.op != "Mul" or len(node.inputs) != 2:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        simple = graph.made(gate, "Sigmoid")
        if simple is not None and simple.inputs[:1] == (x,):
            return node, ("Swish", x)
        tanh = graph.made(gate, "Tanh")
        soft = graph.made(tanh.inputs[0], "Softplus") if tanh is not None else None
        if soft is not None and soft.inputs[:1] == (x,):
            return node, ("Mish", x)
        hard = graph.made(gate, "HardSigmoid")
        if hard is not None and hard.inputs[:1] == (x,):
            sixth = abs(hard.number("alpha", 0.2) - 1 / 6) < 1e-6 and hard.number("beta", 0.5) == 0.5
            return (node, ("HardSwish", x)) if sixth else None
    return None


def _linear(graph: _Graph, node: Node) -> tuple[Node, tuple[str, ...]] | None:
    """X W + b for constant W and b."""
    weight = graph.constants.get(node.inputs[1]) if node.op == "MatMul" and len(node.inputs) == 2 else None
    more = graph.next(node, "Add") if weight is not None and weight.dim() == 2 else None
    if more is None or weight is None:
        return None
    name = graph.other(more, node.outputs[0])
    bias = graph.constants.get(name)
    if bias is None or tuple(bias.shape) != (weight.shape[1],):
        return None
    return more, ("Linear", node.inputs[0], node.inputs[1], name)


def _weighed(graph: _Graph, node: Node) -> tuple[Node, tuple[str, ...], float] | None:
    """Softmax(s Q K) V, or softmax(s Q K + mask) V for a constant mask, along the last axis."""
    if node.op != "MatMul" or len(node.inputs) != 2 or node.inputs[1] in graph.constants:
        return None
    soft = graph.made(node.inputs[0], "Softmax")
    # Before version 13 it is along all axes from one on, and there are four.
    if soft is None or soft.integer("axis", -1 if soft.opset >= 13 else 1) not in (-1, 3):
        return None
    name, masks = soft.inputs[0], list[str]()
    more = graph.made(name, "Add")
    if more is not None and len(more.inputs) == 2:
        for one, other in (more.inputs, more.inputs[::-1]):
            if other in graph.constants and graph.constants[other].is_floating_point():
                name, masks = one, [other]
    name, scale = _scaled(graph, name)
    scores = graph.made(name, "MatMul")
    if scores is None or any(each in graph.constants for each in scores.inputs):
        return None
    (q, more_q), (k, more_k) = (_scaled(graph, each) for each in scores.inputs)
    return node, ("Weighed", q, k, node.inputs[1], *masks), scale * more_q * more_k


def _scaled(graph: _Graph, name: str) -> tuple[str, float]:
    """What a value is a multiple of, and the factor; the value itself and 1 for any other."""
    for op in ("Mul", "Div"):
        node = graph.made(name, op)
        if node is None or len(node.inputs) != 2:
            continue
        pairs = (node.inputs, node.inputs[::-1]) if op == "Mul" else (node.inputs,)
        for one, other in pairs:
            factor = graph.constants.get(other)
            if one in graph.constants or factor is None or factor.numel() != 1 or factor.dim() > 2:
                continue
            if factor.is_floating_point() and float(factor) != 0:
                return one, float(factor) if op == "Mul" else 1 / float(factor)
    return name, 1.0
