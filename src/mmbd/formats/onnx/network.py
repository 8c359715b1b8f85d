"""A graph as a module: its nodes as modules of their own, its constants as parameters and buffers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbd.formats.onnx.node import Node, Sizes, Value
from mmbd.formats.onnx.step import Step, as_sizes, as_tensor

FEW = 256  # numbers that are kept as Python's, too
STATISTICS = {"BatchNormalization": (3, 4)}  # inputs that are no weights: by place

Watch = Callable[[Step, Sequence[Value | None]], Any]


class Network(nn.Module):
    """The nodes of a graph in order.

    Args:
        nodes: each after those whose outputs it takes.
        constants: the tensors that nodes take, by name.
        given: the name of the input.
        outputs: the names of the outputs.
    """

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Tensor], given: str, outputs: Sequence[str]
    ) -> None:
        super().__init__()
        self.given, self.outputs = given, tuple(outputs)
        self.steps = nn.ModuleDict()
        self._plan: list[tuple[str, Node, tuple[str, ...]]] = []
        self._kept: dict[str, str] = {}
        used = {name for node in nodes for name in node.inputs} | set(outputs)
        statistics = {
            node.inputs[place]
            for node in nodes
            for place in STATISTICS.get(node.op, ())
            if place < len(node.inputs)
        }
        for number, (name, tensor) in enumerate(constants.items()):
            if name not in used:
                continue
            self._kept[name] = f"constant_{number}"
            if tensor.dtype.is_floating_point and tensor.numel() > 1 and name not in statistics:
                self.register_parameter(self._kept[name], nn.Parameter(tensor))
            else:
                self.register_buffer(self._kept[name], tensor)
        few = {name: as_sizes(tensor) for name, tensor in constants.items() if tensor.numel() <= FEW}
        last = {name: number for number, node in enumerate(nodes) for name in node.inputs}
        taken: set[str] = set()
        for number, node in enumerate(nodes):
            fixed = {place: few[name] for place, name in enumerate(node.inputs) if name in few}
            word = _word(node, number, taken)
            self.steps[word] = Step(node, fixed)
            ended = tuple(
                name
                for name in dict.fromkeys((*node.inputs, *node.outputs))
                if last.get(name, number) <= number and name not in self.outputs and name not in constants
            )
            self._plan.append((word, node, ended))

    def forward(self, x: Tensor) -> Any:
        """The output of the graph, or all of them by name where there are several."""
        return self.follow(x, lambda step, given: step(*given))

    def follow(self, x: Tensor, call: Watch, seen: Callable[[str, Value], None] | None = None) -> Any:
        """As `forward`, where `call` computes every node, and `seen` is shown every value."""
        values: dict[str, Value | None] = {"": None, self.given: x}
        parameters, buffers = self._parameters, self._buffers
        for name, place in self._kept.items():
            values[name] = parameters[place] if place in parameters else buffers[place]
        steps: Any = self.steps._modules  # pyright: ignore[reportPrivateUsage]
        for word, node, ended in self._plan:
            step = steps[word]
            found = call(step, [values[name] for name in node.inputs])
            every = found if isinstance(found, tuple) else (found,)
            for name, value in zip(node.outputs, every, strict=False):
                if name:
                    values[name] = value
                    if seen is not None:
                        seen(name, value)
            for name in ended:
                values.pop(name, None) if name else None
        answers = {name: _tensor(values[name]) for name in self.outputs}
        return answers[self.outputs[0]] if len(answers) == 1 else answers


def _tensor(value: Value | None) -> Any:
    return as_tensor(value) if isinstance(value, np.ndarray) else value


def _word(node: Node, number: int, taken: set[str]) -> str:
    """A name for the node's module that no other has, from the node's own."""
    word = re.sub(r"[^0-9A-Za-z_]+", "_", node.name or "")[-60:].strip("_") or f"{node.op}_{number}"
    if word in taken or hasattr(nn.ModuleDict, word) or word[0].isdigit():
        word = f"{node.op}_{number}"
    while word in taken:
        word = f"{word}_{number}"
    taken.add(word)
    return word


def computed(node: Node, given: Mapping[str, Value], call: Watch) -> dict[str, Tensor]:
    """The outputs of a node all of whose inputs are known."""
    fixed: dict[int, Sizes] = {}
    inputs: list[Value | None] = []
    for place, name in enumerate(node.inputs):
        value = given[name] if name else None
        inputs.append(value)
        if isinstance(value, Tensor) and value.numel() <= FEW:
            fixed[place] = as_sizes(value)
    with torch.no_grad():
        found = call(Step(node, fixed), inputs)
    every = found if isinstance(found, tuple) else (found,)
    return {name: _tensor(value) for name, value in zip(node.outputs, every, strict=False) if name}
