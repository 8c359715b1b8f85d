"""The nodes of a graph in an order in which they can be computed, and what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import broken
from mmbd.formats.onnx.budget import Budget
from mmbd.formats.onnx.joining import joined
from mmbd.formats.onnx.network import computed
from mmbd.formats.onnx.node import Node, Scalar
from mmbd.formats.onnx.operators import LATEST, OPERATORS

# Numbers in all that is computed from constants: so many, and so many times as are in the file.
FOLDED, TIMES = 1 << 23, 4


@dataclass(frozen=True)
class Given:
    """The input of a graph: its name, its kind of number, and its shape with the batch, as far as known."""

    name: str
    kind: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Plan:
    """A graph to compute: nodes in order, constants by name, the input, and the outputs' names."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    given: Given
    outputs: tuple[str, ...]

    def reduced(self, outputs: Sequence[str]) -> Plan:
        """What is needed for these outputs alone."""
        return replace(self, nodes=_needed(self.nodes, outputs), outputs=tuple(outputs))

    def makers(self) -> dict[str, Node]:
        """The node of every value that is computed, by the value's name."""
        return {name: node for node in self.nodes for name in node.outputs if name}


def plan(value: Any, wanted: int | str | None) -> Plan:
    """The graph in what `reading.read` gives, which is checked again here.

    Args:
        value: the description of a graph, and its tensors.
        wanted: the only output that is asked for, by name or number; None for all of them.

    Raises:
        Failed: names that are not there, or there twice; a circle; no output of this name.
        NotEvaluable: it takes something else than one tensor of numbers.
    """
    value = _typed(value, dict)
    tensors = {
        _typed(name, str): _typed(tensor, Tensor)
        for name, tensor in _typed(value.get("tensors"), dict).items()
    }
    opset = _typed(value.get("opset"), int)
    if not 1 <= opset <= LATEST:
        raise broken(f"the ONNX graph has operators of version {opset}")
    inputs = [_given(each) for each in _typed(value.get("inputs"), list)]
    outputs = [_given(each).name for each in _typed(value.get("outputs"), list)]
    nodes = [_node(each, opset) for each in _typed(value.get("nodes"), list)]
    if not outputs:
        raise broken("the ONNX graph has no output")
    if wanted is not None:
        outputs = [_chosen(outputs, wanted)]
    nodes = _ordered(nodes, {*tensors, *(each.name for each in inputs)}, outputs)
    nodes = _needed(nodes, outputs)
    nodes, constants = _folded(nodes, tensors)
    nodes = _needed(joined(nodes, constants, outputs), outputs)
    used = {name for node in nodes for name in node.inputs}
    alive = [each for each in inputs if each.name in used]
    if len(alive) != 1:
        names = listed(each.name for each in alive) or "none"
        raise NotEvaluable(
            f"the ONNX graph computes its output from {len(alive)} inputs ({names}), and mmbd scans networks "
            "of one: export it with the others as constants"
        )
    return Plan(nodes, constants, alive[0], tuple(outputs))


def _typed(value: Any, kind: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise broken("the description of the ONNX graph is damaged")
    return value


def _given(value: Any) -> Given:
    shape = _typed(value, dict).get("shape")
    if shape is not None:
        shape = tuple(None if each is None else _typed(each, int) for each in _typed(shape, list))
    return Given(_typed(value.get("name"), str), _typed(value.get("kind"), str), shape)


def _node(value: Any, opset: int) -> Node:
    value = _typed(value, dict)
    op = _typed(value.get("op"), str)
    if op not in OPERATORS:
        raise broken(f"the ONNX graph has no known operator {clean_text(op, 40)!r}")
    names = [
        tuple(_typed(each, str) for each in _typed(value.get(key), list)) for key in ("inputs", "outputs")
    ]
    attributes = {
        _typed(name, str): _plain(each) for name, each in _typed(value.get("attributes"), dict).items()
    }
    return Node(_typed(value.get("name"), str), op, opset, names[0], names[1], attributes)


def _plain(value: Any) -> Any:
    """An attribute, where tensors of one number are Python's."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        return value
    return Scalar(value.flatten()[0].item(), value.dtype)


def _chosen(outputs: list[str], wanted: int | str) -> str:
    text = str(wanted)
    if text in outputs:
        return text
    if text.isascii() and text.isdigit() and int(text) < len(outputs):
        return outputs[int(text)]
    raise Failed(
        f"the ONNX graph has no output {clean_text(text, 60)!r}; it has: {listed(outputs, 20)}. Choose one "
        "with --output (output= in Python), by name or number"
    )


def _ordered(nodes: Sequence[Node], known: set[str], outputs: Sequence[str]) -> list[Node]:
    """The nodes, each after those that make what it takes."""
    makers: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in makers or name in known:
                raise broken(f"two nodes of the ONNX graph make {clean_text(name, 60)!r}")
            makers[name] = number
    waiting: list[int] = []
    after: dict[int, list[int]] = {}
    for number, node in enumerate(nodes):
        needs = {makers[name] for name in node.inputs if name in makers}
        lost = [name for name in node.inputs if name and name not in makers and name not in known]
        if lost:
            raise broken(f"{node} of the ONNX graph takes {clean_text(lost[0], 60)!r}, which nothing makes")
        waiting.append(len(needs))
        for each in needs:
            after.setdefault(each, []).append(number)
    for name in outputs:
        if name not in makers:
            raise broken(f"no node of the ONNX graph makes its output {clean_text(name, 60)!r}")
    ready = [number for number, count in enumerate(waiting) if not count][::-1]
    found: list[Node] = []
    while ready:
        number = ready.pop()
        found.append(nodes[number])
        for each in after.get(number, ()):
            waiting[each] -= 1
            if not waiting[each]:
                ready.append(each)
    if len(found) < len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        raise broken(f"{stuck} of the ONNX graph needs its own output: the graph has a circle")
    return found


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[Node, ...]:
    """The nodes that these outputs need, without the names of what nobody takes from them."""
    wanted = set(outputs)
    found: list[Node] = []
    for node in reversed(nodes):
        if wanted.intersection(filter(None, node.outputs)):
            used = tuple(name if name in wanted else "" for name in node.outputs)
            found.append(replace(node, outputs=used))
            wanted.update(node.inputs)
    return tuple(reversed(found))


def _folded(
    nodes: Sequence[Node], tensors: Mapping[str, Tensor]
) -> tuple[tuple[Node, ...], dict[str, Tensor]]:
    """What can be computed once is: the nodes that are left, and all constants."""
    constants, left = dict(tensors), list[Node]()
    budget = Budget(FOLDED + TIMES * sum(tensor.numel() for tensor in tensors.values()))
    for node in nodes:
        if all(name in constants for name in filter(None, node.inputs)):
            found = computed(node, constants, budget)
            constants.update({name: tensor.contiguous() for name, tensor in found.items()})
        else:
            left.append(node)
    used = {name for node in left for name in node.inputs}
    with torch.no_grad():
        return tuple(left), {name: tensor for name, tensor in constants.items() if name in used}
