"""Any number of inputs at a time, for graphs with a batch of one written into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.base.seeds import generator_for
from mmbd.formats.onnx import together
from mmbd.formats.onnx.graph import Plan
from mmbd.formats.onnx.network import Network
from mmbd.formats.onnx.node import Node

THREE = 3
CLOSE = 1e-4  # of the largest logit


class Shell(nn.Module):
    """What stands around a graph: the order of axes, how many inputs at a time, one logit or several.

    Args:
        network: the graph.
        last: whether it takes channels last, where the classifier's inputs have them first.
        single: whether it has one logit; the other class has 0.
        rows: how many inputs it takes at a time: "any" number, or "one", which `Classifier` finds by trying.
        name: the name under which it hands out its output, where the user chose one.
    """

    def __init__(
        self, network: Network, last: bool, single: bool = False, rows: str = "any", name: str | None = None
    ) -> None:
        super().__init__()
        self.network, self.last, self.single, self.rows, self.name = network, last, single, rows, name

    def forward(self, x: Tensor) -> Any:
        """Logits (n, classes) of inputs (n, *shape), or all outputs by name."""
        if self.last:
            x = x.permute(0, 2, 3, 1)
        if self.rows == "one":
            if len(x) != 1:
                raise Failed(
                    "the ONNX graph has a batch of one written into it, and takes one input at a time"
                )
            found = self._alone(x)
        else:
            found = self.network(x)
        if self.single:
            found = found.reshape(x.shape[0], 1)
            found = torch.cat([torch.zeros_like(found), found], 1)
        return found if self.name is None else {self.name: found}

    def _alone(self, row: Tensor) -> Tensor:
        found = self.network(row)
        return found if found.dim() > 1 and found.shape[0] == 1 else found.unsqueeze(0)


class Arranged(NamedTuple):
    """A network for any number of inputs, a sentence on how, and a doubt; empty where there is none."""

    shell: Shell
    note: str = ""
    doubt: str = ""


def arranged(plan: Plan, shape: tuple[int, ...], shell: Callable[[Network, str], Shell]) -> Arranged:
    """The network so that it takes any number of inputs, and a sentence on how where that needs saying.

    Three inputs together must give what they give alone, in every node; graphs with a batch of one written
    into them do not. Where only the shapes of reshaping say it, or a constant that is put beside the data,
    these are changed; else it takes one input at a time. A graph that takes any batch by its own words,
    and then answers by how many come together, brings a doubt.

    Args:
        plan: the graph; what it takes for one input is known to work.
        shape: of one input.
        shell: what is put around the network, for its rows.
    """
    network = _network(plan)
    if len(plan.outputs) > 1:  # which of them is meant has to be said first
        return Arranged(shell(network, "any"))
    points = torch.rand(THREE, *shape, generator=generator_for("rows of an ONNX graph"))
    with torch.no_grad():
        single = shell(network, "one").eval()
        alone = torch.cat([_tensor(single(each)) for each in points.split(1)])
        slack = CLOSE * float(alone.nan_to_num(0.0, 0.0, 0.0).abs().max()) + 1e-12
        tries = [(network, "")]
        freed = _freed(plan)
        if freed is not None:
            note = "a batch of one is written into its shapes or constants, which were changed to take any"
            tries.append((_network(freed), note))
        doubt = ""
        for tried, note in tries:
            made = shell(tried, "any")
            node = _apart(tried, points.permute(0, 2, 3, 1) if made.last else points)
            if node is None and _same(made, points, alone, slack):
                return Arranged(made, note, doubt)
            if node is not None and tried is network and not _one(plan) and _takes(made, points):
                doubt = f"its answers depend on how many inputs come together: {node}"
    note = "its batch is taken apart" if doubt else "a batch of one is written into it"
    return Arranged(single, f"{note}: it computes input by input, slowly", doubt)


def _one(plan: Plan) -> bool:
    """Whether the file itself says that it takes one input at a time, which is then all that anybody runs."""
    return bool(plan.given.shape) and plan.given.shape[0] == 1


def _apart(network: Network, points: Tensor) -> Node | None:
    """The node that gives another thing for several inputs; None where there is none, or they do not fit."""
    try:
        together.check(network, points)
    except together.Apart as apart:
        return apart.node
    except Exception:  # shapes that do not fit, of any kind; the whole network is tried after this
        return None
    return None


def _network(plan: Plan) -> Network:
    return Network(plan.nodes, plan.constants, plan.given.name, plan.outputs).eval()


def _takes(network: Shell, points: Tensor) -> bool:
    """Whether it gives a row of logits for every one of these inputs; else a batch of one is meant."""
    try:
        found = _tensor(network(points))
    except Exception:  # shapes that do not fit, of any kind
        return False
    return found.dim() > 0 and found.shape[0] == THREE


def _same(network: Shell, points: Tensor, alone: Tensor, slack: float) -> bool:
    try:
        together = _tensor(network(points))
    except Exception:  # shapes that do not fit, of any kind
        return False
    if together.dim() < 2 or together.shape[0] != THREE or together.numel() != alone.numel():
        return False
    difference = (together.reshape(alone.shape) - alone).nan_to_num().abs().max()
    return bool(difference <= slack)


def _tensor(found: Any) -> Tensor:
    """The only output, by name or not."""
    return next(iter(found.values())) if isinstance(found, dict) else found


def _freed(plan: Plan) -> Plan | None:
    """The graph with any batch where its reshapes, or constants beside data, have a batch of one; or None."""
    constants = dict(plan.constants)
    nodes: list[Node] = []
    changed = False
    for node in plan.nodes:
        if node.op == "Concat":
            more = _repeated(node, constants)
            changed, nodes = changed or len(more) > 1, [*nodes, *more]
            continue
        if node.op == "Reshape" and node.opset < 5:
            own = node.attributes.get("shape")
            if isinstance(own, list) and len(own) > 1 and own[0] == 1:
                node = replace(node, attributes={**node.attributes, "shape": _any(own)})
                changed = True
        elif node.op == "Reshape":
            given, *others = node.inputs
            lengths = constants.get(others[0]) if others else None
            if lengths is not None and lengths.dim() == 1 and len(lengths) > 1 and int(lengths[0]) == 1:
                name = f"{others[0]}\0any batch"
                constants[name] = torch.tensor(_any(lengths.tolist()))
                node = replace(node, inputs=(given, name))
                changed = True
        nodes.append(node)
    return replace(plan, nodes=tuple(nodes), constants=constants) if changed else None


def _repeated(node: Node, constants: Mapping[str, Tensor]) -> list[Node]:
    """A Concat whose constants for one input, such as a class token, are there for every input."""
    data = [name for name in node.inputs if name not in constants]
    single = {name for name in node.inputs if name in constants and constants[name].shape[:1] == (1,)}
    if not data or not single or node.attributes.get("axis", 1) == 0:
        return [node]
    names = {name: f"{node.outputs[0]}\0{name}\0rows" for name in single}
    made = [
        Node(f"{node.name} rows", "Rows", node.opset, (name, data[0]), (other,))
        for name, other in names.items()
    ]
    return [*made, replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))]


def _any(lengths: list[int]) -> list[int]:
    """A shape whose first length is what is left, or where that is another, the input's own."""
    return [0 if -1 in lengths else -1, *lengths[1:]]
