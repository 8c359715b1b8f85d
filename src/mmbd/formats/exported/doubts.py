"""What in a program could hide a backdoor from a search along gradients, as sentences.

Sizes that join the data, other precisions than the single one that networks are run in, and branches in
the flow of the data: comparisons, steps, and numbers looked up by answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from mmbd.base.text import listed
from mmbd.formats.exported import operators
from mmbd.formats.exported.alone import names_in, on_data, short
from mmbd.formats.exported.operators import ATEN
from mmbd.formats.exported.running import OTHER_PRECISIONS, named, results

# Arguments that are shapes or places along an axis.
OF_SHAPES = {
    *(
        "size",
        "sizes",
        "shape",
        "repeats",
        "start",
        "end",
        "split_size",
        "split_sizes",
        "split_size_or_sections",
    ),
    *("output_size", "length", "step"),
}
# Operations in which a size that grows with the number of inputs may be one of those arguments.
SHAPING = {
    *("view", "_unsafe_view", "reshape", "unflatten", "expand", "repeat", "tile", "slice", "narrow", "split"),
    *(
        "split_with_sizes",
        "zeros",
        "ones",
        "full",
        "new_zeros",
        "new_ones",
        "new_full",
        "arange",
        "empty_like",
    ),
    *("repeat_interleave",),
}
STEPS = {
    *("sign", "floor", "ceil", "round", "trunc", "frac", "floor_divide", "remainder", "fmod"),
    *("eq", "ne", "gt", "ge", "lt", "le", "isnan", "isinf", "any", "all"),
    *("logical_and", "logical_or", "logical_not", "logical_xor"),
    *("bitwise_and", "bitwise_or", "bitwise_not"),
}
# Operations that choose by their second argument, or by the one so called.
CHOOSING = {"where": "condition", "masked_fill": "mask", "masked_fill_": "mask"}
# Operations that look up by whole numbers, and those that put something at places.
LOOKING = {"index", "index_select", "gather", "embedding", "take_along_dim"}
PUTTING = {"scatter", "scatter_add", "index_put", "one_hot"}
# Among operations on shapes, those whose result never shares memory.
COPYING = {"clone", "lift_fresh_copy", "cat", "stack", "repeat", "roll", "flip"}
CONVERTING = {"to", "_to_copy", "type_as"}
Nodes = Sequence[Mapping[str, Any]]


def _name(node: Mapping[str, Any]) -> str:
    return node["target"].removeprefix(ATEN).partition(".")[0]


def of_sizes(nodes: Nodes, one: Mapping[str, Any], three: Mapping[str, Any]) -> list[str]:
    """Operations that join the number of inputs with data, or do with it what is not a product.

    Args:
        nodes: inlined.
        one: the values by name of a pass with one input.
        three: those of a pass with three.
    """
    growing: set[str] = set()  # three times as large for three inputs, by products alone
    odd: dict[str, str] = {}  # name of a size -> the operation that made it what it is
    found: list[str] = []
    for node in nodes:
        names = [name for value in node["inputs"].values() for name in names_in(value)]
        target, given = node["target"], results(node)
        if target in operators.SKIPPED:
            continue
        if _name(node).startswith("sym_") and target.startswith(ATEN):
            for name in given:
                if one.get(name) != three.get(name):
                    growing.add(name)
                    if three[name] != 3 * one[name]:
                        odd[name] = short(node)
            continue
        held = [name for name in names if name in growing]
        if not held:
            continue
        if target in operators.ON_SIZES:
            growing |= set(given)
            made = next((odd[name] for name in held if name in odd), "")
            for name in given:
                if made or not _is_product(node, held, one, three, name):
                    odd[name] = made or short(node)
            continue
        used = {
            key: [name for name in names_in(value) if name in growing]
            for key, value in node["inputs"].items()
        }
        used = {key: inner for key, inner in used.items() if inner}
        if _name(node) not in SHAPING or not OF_SHAPES.issuperset(used):
            found.append(short(node))
        else:
            found += [odd[name] for inner in used.values() for name in inner if name in odd]
    return list(dict.fromkeys(found))


def _is_product(
    node: Mapping[str, Any], held: list[str], one: Mapping[str, Any], three: Mapping[str, Any], name: str
) -> bool:
    """Whether a size is three times as large for three inputs, and so for any number of them."""
    kind = node["target"].rpartition(".")[2]
    if kind in ("floordiv", "truediv"):
        above, below = (_number(value, one) for value in list(node["inputs"].values())[:2])
        return (
            len(held) <= 2 and below != 0 and above % below == 0 and three[name] in (one[name], 3 * one[name])
        )
    return kind in ("mul", "sym_int", "sym_float") and len(held) == 1 and three[name] == 3 * one[name] != 0


def _number(value: Any, values: Mapping[str, Any]) -> Any:
    names = names_in(value)
    return values[names[0]] if names else value


def of_memory(nodes: Nodes, outputs: Sequence[Any]) -> list[str]:
    """Operations in place whose tensor goes on under another name, where no one looks for the change."""
    whose: dict[str, str] = {}  # a value -> the first one that lies in the same memory
    last: dict[str, int] = {name: len(nodes) for value in outputs for name in names_in(value)}
    for number, node in enumerate(nodes):
        inputs = [names_in(value) for value in node["inputs"].values()]
        first = inputs[0][0] if inputs and inputs[0] else ""
        for name in results(node):
            shares = first and node["target"] in operators.VIEWS and _name(node) not in COPYING
            whose[name] = whose.get(first, first) if shares else name
        for name in (name for names in inputs for name in names):
            last[name] = max(last.get(name, 0), number)
    found: list[str] = []
    before: set[str] = set()
    for number, node in enumerate(nodes):
        if node["target"] in operators.CHANGING:
            own = [whose[name] for name in results(node) if name]
            if any(whose[name] in own and last.get(name, -1) > number for name in before):
                found.append(short(node))
        before |= set(results(node)) - {""}
    return found


def _needed(nodes: Nodes, outputs: Iterable[Any]) -> set[str]:
    """The names of the values on the way to the outputs."""
    wanted = {name for value in outputs for name in names_in(value)}
    for node in reversed(nodes):
        changed = node["target"] in operators.CHANGING
        if changed or wanted & set(results(node)):
            wanted |= {name for value in node["inputs"].values() for name in names_in(value)}
            wanted |= set(results(node)) if changed else set()
    return wanted


def of_branches(
    nodes: Nodes,
    outputs: Sequence[Any],
    given: str,
    values: Mapping[str, Any],
    settled: Set[str] = frozenset(),
) -> list[str]:
    """Operations on the data through which no gradient tells what lies on the other side.

    Args:
        nodes: inlined.
        outputs: of the program.
        given: the name of the inputs.
        values: by name, of any pass; their kinds are looked at.
        settled: what comparisons give that decide no jump.
    """
    known = set(settled)
    data, wanted = on_data(nodes, given), _needed(nodes, outputs)
    found: list[str] = []
    for node in nodes:
        if not wanted & set(results(node)):
            continue
        if known & set(results(node)):
            continue
        inputs = list(node["inputs"].items())
        choice = node["inputs"].get(CHOOSING.get(_name(node), "self"))
        if _name(node) in (*CHOOSING, "logical_not", "bitwise_not", "clone") and named(choice) in known:
            known |= set() if _name(node) in CHOOSING else set(results(node))
            continue
        on = [(key, [name for name in names_in(value) if name in data]) for key, value in inputs]
        on = [(key, names) for key, names in on if names]
        if on and _jumps(node, inputs[0][0], dict(on), data, values):
            found.append(short(node))
    return found


def _jumps(
    node: Mapping[str, Any],
    first: str,
    on: Mapping[str, list[str]],
    data: set[str],
    values: Mapping[str, Any],
) -> bool:
    name = _name(node)
    made = [values.get(each) for each in results(node)]
    floating = any(isinstance(each, Tensor) and each.is_floating_point() for each in made)
    if name in STEPS or (name in ("div", "div_") and node["inputs"].get("rounding_mode") is not None):
        return True
    if name in CHOOSING:
        return CHOOSING[name] in on
    if name in CONVERTING and not floating:
        return any(_floats(each, values) for each in on.get(first, ()))
    if name in LOOKING:
        content = "weight" if name == "embedding" else first
        return content not in on
    if name in PUTTING:
        return any(not _floats(each, values) for names in on.values() for each in names)
    # Whole numbers that the data chose, as numbers to compute with.
    return floating and any(not _floats(each, values) for names in on.values() for each in names)


def _floats(name: str, values: Mapping[str, Any]) -> bool:
    value = values.get(name)
    parts = value if isinstance(value, tuple | list) else [value]
    return all(not isinstance(part, Tensor) or part.is_floating_point() for part in parts)


def of_precision(
    nodes: Nodes, given: str, kinds: Iterable[torch.dtype]
) -> tuple[list[str], torch.dtype | None]:
    """Conversions of data to another precision than the program's, and that one where it is not single.

    Args:
        nodes: inlined.
        given: the name of the inputs.
        kinds: of the weights.
    """
    floating = {kind for kind in kinds if kind.is_floating_point}
    whole = next(iter(floating)) if len(floating) == 1 else None
    data = on_data(nodes, given)
    found: list[str] = []
    for node in nodes:
        if _name(node) not in CONVERTING or not data & set(results(node)):
            continue
        for value in node["inputs"].values():
            kind = getattr(torch, value["dtype"]) if isinstance(value, dict) and "dtype" in value else None
            if kind in OTHER_PRECISIONS and kind != whole:
                found.append(f"{short(node)} to {value['dtype']}")
    if len(floating) > 1:
        found.append("weights of " + listed(sorted(str(kind).removeprefix("torch.") for kind in floating)))
    return found, whole if whole in OTHER_PRECISIONS else None
