"""What a search along gradients does not see on the way from the inputs to the logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from mmbd.base.text import listed
from mmbd.formats.onnx import gating
from mmbd.formats.onnx.graph import Plan
from mmbd.formats.onnx.node import Node

STEPS = {"Sign", "Floor", "Ceil", "Round", "Mod", "Hardmax", "IsInf", "IsNaN", "OneHot", "ThresholdedRelu"}
COMPARISONS = {"Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "And", "Or", "Xor", "Not"}
PLACES = {"ArgMax": (0,), "ArgMin": (0,), "TopK": (1,), "MaxPool": (1,)}  # outputs that are indices
TAKES_PLACES = {"Gather", "GatherElements", "GatherND", "ScatterND", "ScatterElements"}
SIZES = {"Shape", "Size", "EyeLike"}
DECIMALS = {1: "single", 10: "half", 11: "double", 16: "half (bfloat16)"}
WORDS = {"FLOAT": 1, "FLOAT16": 10, "DOUBLE": 11, "BFLOAT16": 16}  # of version 1


def doubts(
    plan: Plan,
    kinds: Mapping[str, int],
    shapes: Mapping[str, Sequence[int]] | None = None,
    spread: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Sentences on branches and other kinds of numbers in a graph's data.

    Args:
        plan: the graph, of what its logits need alone.
        kinds: the number of the kind (as in ONNX) of every tensor of floating-point numbers in the file.
        shapes: of values, for one input.
        spread: the standard deviation of the numbers of values, for an input that was made up.
    """
    looked = gating.gates(plan, shapes or {}, spread or {})
    flow = _Flow(plan, looked.settled)
    found: list[str] = []
    branches = [*map(str, flow.branches), *looked.steps(), *gating.few(plan, shapes or {})]
    if branches:
        named = listed(dict.fromkeys(branches), 5)
        found.append(f"a search along gradients sees nothing of what branches or steps decide: {named}")
    found += _precision(plan, flow, kinds)
    return tuple(found)


class _Flow:
    """Which values the inputs' numbers go into, which of them are indices, and where gradients end."""

    def __init__(self, plan: Plan, settled: Set[str] = frozenset()) -> None:
        self.data, self.places = {plan.given.name}, set[str]()
        self.settled = set(settled)  # what comparisons give, and what is the same, that decide no jump
        self.makers = plan.makers()
        self.constants = plan.constants
        self.branches: list[Node] = []
        for node in plan.nodes:
            taken = [name for name in node.inputs if name in self.data]
            if node.op in SIZES or not taken:
                continue
            self.data.update(filter(None, node.outputs))
            if self._branches(node, taken):
                self.branches.append(node)

    def _branches(self, node: Node, taken: Sequence[str]) -> bool:
        if node.op in PLACES:
            self.places.update(name for name in _at(node.outputs, PLACES[node.op]) if name)
            return all(name in self.places for name in taken)
        if node.op in TAKES_PLACES:
            return self._gathers(node)
        if node.op == "Cast":
            whole = _kind(node) not in DECIMALS
            if taken[0] in self.places and whole and _kind(node) != 9:
                self.places.update(node.outputs)
                return False
            return whole or taken[0] in self.places
        if node.op == "IsNaN" and self._of_softmax(node.inputs[0]):
            return False
        if node.outputs[0] in self.settled:
            return False
        if node.op in ("Not", "Identity") and node.inputs[0] in self.settled:
            self.settled.add(node.outputs[0])
            return False
        if node.op == "Where" and node.inputs[0] in self.settled:
            return False
        if node.op == "Where":
            return node.inputs[0] in self.data and not self._mends(node)
        if all(name in self.places for name in taken):
            self.places.update(filter(None, node.outputs))  # such as the start of each row added to indices
            return node.op in COMPARISONS or node.op in STEPS - {"Mod"}
        return node.op in STEPS or node.op in COMPARISONS or any(name in self.places for name in taken)

    def _gathers(self, node: Node) -> bool:
        """Whether data say which numbers of a table are taken; of data themselves, gradients pass."""
        source, index = node.inputs[0] in self.data, node.inputs[1] in self.data
        if node.op.startswith("Scatter"):
            updates = node.inputs[2] in self.data
            return index and not updates
        if source and node.inputs[0] in self.places:
            self.places.update(node.outputs)
        return index and (not source or node.inputs[0] in self.places)

    def _of_softmax(self, name: str) -> bool:
        maker = self.makers.get(name)
        return maker is not None and maker.op == "Softmax"

    def _mends(self, node: Node) -> bool:
        """Whether it puts 0 where a softmax has no number, as exporters of attention do."""
        made = self.makers.get(node.inputs[0])
        if made is None or made.op != "IsNaN" or not self._of_softmax(made.inputs[0]):
            return False
        fill = self.constants.get(node.inputs[1])
        return node.inputs[2] == made.inputs[0] and fill is not None and not bool(fill.any())


def _at(names: Sequence[str], places: Iterable[int]) -> list[str]:
    return [names[place] for place in places if place < len(names)]


def _kind(node: Node) -> int:
    to = node.attributes.get("to")
    return WORDS.get(to, 0) if isinstance(to, str) else int(to) if isinstance(to, int) else 0


def _precision(plan: Plan, flow: _Flow, kinds: Mapping[str, int]) -> list[str]:
    """Where the file computes with more or fewer digits than are computed with here, if not throughout."""
    all_ = set(kinds.values())
    given = {"float16": 10, "float64": 11, "bfloat16": 16}.get(plan.given.kind)
    uniform = next(iter(all_)) if len(all_) == 1 else None
    found: list[str] = []
    told: set[int] = set()
    for node in plan.nodes:
        kind = 0
        if node.op == "Cast" and node.inputs[0] in flow.data - flow.places:
            kind = _kind(node)
        elif node.op not in SIZES and any(name in flow.data for name in node.inputs):
            others = {kinds.get(name, 1) for name in node.inputs if name in plan.constants}
            kind = max(others - {1}, default=0)
        if kind not in (10, 11, 16) or kind == uniform or kind in told:
            continue
        told.add(kind)
        found.append(f"it computes in {DECIMALS[kind]} precision at {node}, here in single")
    if given is not None and uniform not in (None, given) and given not in told:
        found.append(f"its inputs are in {DECIMALS[given]} precision and not all else is; here all is single")
    return found
