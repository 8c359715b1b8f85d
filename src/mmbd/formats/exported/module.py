"""The network of a checked program: its operations in their order, each from the table of those allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats.exported import doubts, gating, operators
from mmbd.formats.exported.alone import ROWS, any_number, joined_where
from mmbd.formats.exported.inlining import inlined
from mmbd.formats.exported.operators import ATEN
from mmbd.formats.exported.running import run, value_of
from mmbd.formats.exported.work import Budget
from mmbd.formats.format import Contents, Graph
from mmbd.formats.options import LoadOptions
from mmbd.formats.rows import any_batch


def build(contents: Contents, options: LoadOptions) -> Graph:
    """The network of a .pt2 archive.

    Raises:
        Refused: operations that are not on the list, all of them by name, or branches.
        Failed: values that nothing gives, more than one input, sizes beyond what networks need.
    """
    program: Mapping[str, Any] = contents.value
    _all_known(program)
    users = [one for one in program["inputs"] if one["kind"] == "user"]
    if len(users) != 1:
        raise Failed(
            f"the program takes {len(users)} inputs ({listed(one['name'] for one in users) or 'none'}), "
            "expected one tensor with the batch first: export a network that takes the input alone"
        )
    module = Program(program)
    sizes: list[int | None] = users[0]["sizes"] or [None]
    batch, shape = sizes[0], tuple(size for size in sizes[1:] if size is not None)
    known = shape if len(shape) == len(sizes) - 1 else None
    given = options.input_shape or known
    notes: list[str] = []
    found: list[str] = []
    network: nn.Module = module
    conversions, precision = doubts.of_precision(
        module.nodes, module.given, [value.dtype for value in program["tensors"].values()]
    )
    if precision is not None:
        kind = str(precision).removeprefix("torch.")
        notes.append(f"the program is in {kind}: it is computed in single precision")
    if conversions:
        found.append(
            f"it converts to other precisions, and is computed in single precision: {listed(conversions)}"
        )
    if shared := doubts.of_memory(module.nodes, module.outputs):
        found.append(f"it changes in place what goes on elsewhere, too: {listed(shared)}")
    if given is not None:
        sizes_alone = module.check(given, 1 if batch is None else batch)
        looked = None
        if batch in (None, 1):
            looked = gating.gates(module.nodes, module.held(), module.given, module.outputs, given)
        settled = looked.settled if looked is not None else set[str]()
        branches = doubts.of_branches(module.nodes, module.outputs, module.given, sizes_alone, settled)
        branches += looked.steps() if looked is not None else []
        if branches:
            found.append(
                f"a search along gradients sees nothing of what lies beyond its branches: {listed(branches)}"
            )
        if batch == 1 and (nodes := any_number(module.nodes, module.held(), module.given, given)):
            if nodes != module.nodes:
                notes.append("a batch of one is written into its shapes, which were changed to take any")
            module.nodes = nodes
            network = module
        else:
            network, note = any_batch(module, given, batch)
            notes += [note] if note else []
            if not note:  # they are given to it together
                found += _together(module, given, sizes_alone)
    counts = Counter(node["target"].removeprefix(ATEN).partition(".")[0] for node in program["nodes"])
    most = ", ".join(f"{count} {name}" for name, count in counts.most_common(3))
    return Graph(
        network,
        f"torch.export program ({len(program['nodes'])} operations: {most})",
        known,
        notes=tuple(notes),
        doubts=tuple(found),
    )


def _together(module: Program, shape: Sequence[int], alone: Mapping[str, Any]) -> list[str]:
    """Doubts of a program for any number of inputs: whether its answers depend on how many there are."""
    words = "its answers may depend on how many inputs come together: "
    try:
        three = module.check(shape, ROWS)
        joined = doubts.of_sizes(module.nodes, alone, three)
        joined = joined or [joined_where(module.nodes, module.held(), module.given, shape)]
    except Failed as error:
        joined = [f"this could not be tried, {clean_text(str(error), 200)}"]
    joined = [name for name in joined if name]
    return [words + listed(joined)] if joined else []


def _all_known(program: Mapping[str, Any]) -> None:
    """Refuse all operations that are not on the list, at once."""
    branches: list[str] = []
    strange: Counter[str] = Counter()

    def walk(drawn: Mapping[str, Any]) -> None:
        for node in drawn["nodes"]:
            target = node["target"]
            if target.rpartition(".")[2] in operators.BRANCHES:
                branches.append(f"{target.rpartition('.')[2]} ({_first(node['outputs'])})")
            elif target in operators.WRAPPERS:
                for value in node["inputs"].values():
                    if isinstance(value, dict) and "graph" in value:
                        walk(value["graph"])
            elif not (
                target in operators.table() or target in operators.ON_SIZES or target in operators.SKIPPED
            ):
                strange[target] += 1

    walk(program)
    if branches:
        raise Refused(
            f"the program branches: {listed(branches)}. What a branch hides, a search along gradients cannot "
            "see. It was not loaded. Export the network without it"
        )
    if strange:
        raise Refused(
            f"the program uses operations that are not on the list: {listed(sorted(strange), most=20)}. It "
            "was not loaded. Save the network's weights alone, where you trust this file, and scan those"
        )


def _first(outputs: Sequence[Any]) -> str:
    names = [next(iter(each.values())) for each in outputs if isinstance(each, dict) and each]
    return clean_text(str(names[0]), 40) if names else "no name"


class Program(nn.Module):
    """A checked program as a module: a batch of inputs to its outputs, with gradients.

    Args:
        program: as `schema.program` has it, with `tensors`.
    """

    def __init__(self, program: Mapping[str, Any]) -> None:
        super().__init__()
        self.nodes, self.outputs = inlined(
            program["nodes"], program["outputs"], [one["name"] for one in program["inputs"]]
        )
        self.changes = any(node["target"] in operators.CHANGING for node in self.nodes)
        self.weights: dict[str, str] = {}
        self.fixed: dict[str, Any] = {}
        made: dict[str, str] = {}
        for one in program["inputs"]:
            if one["kind"] == "user":
                self.given: str = one["name"]
            elif one["kind"] == "fixed":
                self.fixed[one["name"]] = one["value"]
            else:
                if one["target"] not in made:
                    made[one["target"]] = name = f"weight_{len(made)}"
                    self._keep(name, program["tensors"][one["target"]], one["kind"])
                self.weights[one["name"]] = made[one["target"]]

    def _keep(self, name: str, value: Tensor, kind: str) -> None:
        value = value.float() if value.is_floating_point() else value
        if kind == "parameter" and value.is_floating_point():
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def forward(self, inputs: Tensor) -> Any:
        values = self.held()
        # What operations in place may not change: the weights, and what is only another view of them.
        own = set(self.weights)
        values[""] = len(inputs)
        values[self.given] = inputs.clone() if self.changes else inputs
        run(self.nodes, values, own, inputs.device)
        found = [value_of(each, values, inputs.device) for each in self.outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def held(self) -> dict[str, Any]:
        """Weights and constants by the names that they have in the program."""
        return {**{name: getattr(self, own) for name, own in self.weights.items()}, **self.fixed}

    def check(self, shape: Sequence[int], batch: int) -> dict[str, Any]:
        """The values of a walk through with tensors of sizes alone, by name.

        Raises:
            Failed: all together are too large, or take too long to compute.
        """
        values = {
            name: value.to("meta") if isinstance(value, Tensor) else value
            for name, value in self.held().items()
        }
        values |= {"": batch, self.given: torch.empty((batch, *shape), device="meta")}
        with torch.no_grad():
            run(self.nodes, values, set(), torch.device("meta"), Budget(shape, batch))
        return values
