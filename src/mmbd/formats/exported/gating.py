"""The operations of a program as operations that may be gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.formats.exported import operators
from mmbd.formats.exported.alone import names_in, on_data, short
from mmbd.formats.exported.operators import ATEN
from mmbd.formats.exported.running import named, results, run, step
from mmbd.formats.gates import AFFINE, COMPARISON, OTHER, PLACEWISE, Gates, Operation
from mmbd.formats.steepness import spread_of

COMPARISONS = {"gt", "lt", "ge", "le"}
LINEAR = {"add", "sub", "rsub", "mul", "div", "neg", "clone", "alias", "detach"}
PLACE_BY_PLACE = {
    *("abs", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "log", "log1p", "expm1", "erf", "sin", "cos"),
    *("tan", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "pow", "square"),
    *("where", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "relu", "relu6", "leaky_relu"),
    *("prelu", "elu", "selu", "celu", "sigmoid", "log_sigmoid", "hardsigmoid", "hardswish", "hardtanh"),
    *("tanh", "softplus", "gelu", "softplus", "gelu", "mish", "silu", "to", "_to_copy", "type_as"),
    *("dropout", "masked_fill", "logical_not", "logical_and", "logical_or", "logical_xor", "bitwise_not"),
    *("bitwise_and", "bitwise_or", "atan2", "softsign"),
}
CPU = torch.device("cpu")


def gates(
    nodes: Sequence[Mapping[str, Any]],
    held: Mapping[str, Any],
    given: str,
    outputs: Sequence[Any],
    shape: Sequence[int],
) -> Gates:
    """The program's comparisons and steep operations, looked at.

    Args:
        nodes: inlined.
        held: weights and constants by name.
        given: the name of the inputs.
        outputs: of the program.
        shape: of one input.

    Raises:
        Failed: operations that do not take what they are given.
    """
    point = torch.rand(1, *shape, generator=generator_for("a program's gates"))
    values: dict[str, Any] = {**held, given: point, "": 1}
    with torch.no_grad():
        run(nodes, values, set(held), CPU)
    data = on_data(nodes, given)
    numbers: dict[str, Any] = {}
    made = [_operation(node, data, numbers) for node in nodes if any(results(node))]
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    constants = {name: value for name, value in values.items() if name not in data} | numbers
    return Gates(
        made,
        constants,
        given,
        [name for value in outputs for name in names_in(value)],
        {name: tuple(value.shape) for name, value in tensors.items()},
        {name: spread_of(value) for name, value in tensors.items() if value.is_floating_point()},
    )


def _operation(node: Mapping[str, Any], data: set[str], numbers: dict[str, Any]) -> Operation:
    name = node["target"].removeprefix(ATEN).partition(".")[0]
    output = next(filter(None, results(node)))
    inputs = tuple(each for value in node["inputs"].values() for each in names_in(value))
    changing = node["target"] in operators.CHANGING

    def compute(known: Mapping[str, Any]) -> Any:
        own = {each: known[each] for each in inputs}
        if changing:
            own = {each: value.clone() if isinstance(value, Tensor) else value for each, value in own.items()}
        step(node, own, set(), CPU)
        return own[output]

    plain = name.removesuffix("_")
    kind = OTHER
    if plain in COMPARISONS:
        kind = COMPARISON
    elif plain in LINEAR:
        on = [each for each in dict.fromkeys(inputs) if each in data]
        below = plain == "div" and named(list(node["inputs"].values())[1]) in data
        kind = AFFINE if len(on) == 1 and not below else PLACEWISE
    elif plain in PLACE_BY_PLACE:
        kind = PLACEWISE
    return Operation(short(node), inputs, output, kind, compute, _sides(node, kind, numbers))


def _sides(node: Mapping[str, Any], kind: str, numbers: dict[str, Any]) -> tuple[str, str] | None:
    """Names of the two sides of a comparison; a number gets one."""
    if kind != COMPARISON:
        return None
    found: list[str] = []
    for value in list(node["inputs"].values())[:2]:
        name = named(value)
        if not name:
            if not isinstance(value, int | float):
                return None
            name = f"\0{float(value)!r}"
            numbers[name] = torch.tensor(float(value), dtype=torch.float64)
        found.append(name)
    return (found[0], found[1]) if len(found) == 2 else None
