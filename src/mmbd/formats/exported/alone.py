"""Whether a program's answer to an input depends on the inputs that come with it, operation by operation.

Whole answers do not tell: what a trigger alone brings about is exactly nothing on other inputs. So every
operation is tried by itself, on random numbers in place of what the others gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import Failed, Refused
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text
from mmbd.formats.exported.operators import ATEN
from mmbd.formats.exported.running import named, results, step

ROWS = 3
CLOSE = 1e-4  # of a tensor's largest number
# Operations that take only the kind and the place of their first argument, not its numbers.
BY_KIND = ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full")
# Those that take only the kind or the shape of their second argument.
FIRST_ALONE = ("expand_as", "view_as", "reshape_as", "type_as", "to.other")


def short(node: Mapping[str, Any]) -> str:
    """What an operation is called in sentences, with the name of what it gives."""
    name = clean_text(node["target"].removeprefix(ATEN).removesuffix(".default"), 40)
    return f"{name} ({clean_text(next(iter(results(node)), '') or 'no name', 40)})"


def names_in(value: Any) -> list[str]:
    """The names of values of the graph in an argument."""
    if isinstance(value, list):
        return [name for each in value for name in names_in(each)]
    return [name] if (name := named(value)) else []


def on_data(nodes: Sequence[Mapping[str, Any]], given: str) -> set[str]:
    """The names of the values that depend on the numbers of the inputs."""
    found = {given}
    for node in nodes:
        name = node["target"].removeprefix(ATEN)
        if name.partition(".")[0] in BY_KIND or name.startswith("sym_"):
            continue
        inputs = list(node["inputs"].values())
        if name.startswith(FIRST_ALONE):
            inputs = inputs[:1]
        if any(each in found for value in inputs for each in names_in(value)):
            found |= set(results(node)) - {""}
    return found


@torch.no_grad()
def joined_where(
    nodes: Sequence[Mapping[str, Any]], values: Mapping[str, Any], given: str, shape: Sequence[int]
) -> str:
    """The first operation whose result for inputs together is not what they have alone; "" for none.

    Args:
        nodes: inlined.
        values: weights and constants by name.
        given: the name of the inputs.
        shape: of one input.

    Raises:
        Failed: an operation that does not take what it is given, for one input or several.
    """
    data, last = on_data(nodes, given), _last_use(nodes)
    noise = generator_for("inputs alone and together", 0)
    rows = torch.rand(ROWS, *shape, generator=noise)
    alone: list[dict[str, Any]] = [{**values, given: row[None], "": 1} for row in rows]
    together: dict[str, Any] = {**values, given: rows, "": ROWS}
    own = [set(values) for _ in range(ROWS + 1)]
    for number, node in enumerate(nodes):
        for held, mine in zip((*alone, together), own, strict=True):
            step(node, held, mine, rows.device)
        for name in results(node):
            if name not in data or not isinstance(together.get(name), Tensor):
                continue
            parts, whole = [held[name] for held in alone], together[name]
            axis = _axis(parts, whole)
            if axis is None:
                return short(node)
            if whole.is_floating_point() and whole.numel():
                if (
                    wanted := next((each for each in axis if _alike(_put(parts, each), whole)), None)
                ) is None:
                    return short(node)
                fresh = [torch.rand(part.shape, generator=noise) * 0.9 + 0.1 for part in parts]
                for held, part in zip(alone, fresh, strict=True):
                    held[name] = part
                together[name] = _put(fresh, wanted)
        for name in last.get(number, ()):
            for held in (*alone, together):
                held.pop(name, None)
    return ""


def _last_use(nodes: Sequence[Mapping[str, Any]]) -> dict[int, list[str]]:
    """By an operation's number what is used for the last time there, so that it may go."""
    place = {name: number for number, node in enumerate(nodes) for name in results(node)}
    for number, node in enumerate(nodes):
        place |= {name: number for value in node["inputs"].values() for name in names_in(value)}
    found: dict[int, list[str]] = {}
    for name, number in place.items():
        found.setdefault(number, []).append(name)
    return found


def _axis(parts: Sequence[Tensor], whole: Tensor) -> list[tuple[int, bool]] | None:
    """Where the inputs may lie in a tensor for several: axes, and whether they vary fastest there."""
    alone, size = parts[0].shape, whole.shape
    if len(alone) != len(size) or any(part.shape != alone for part in parts):
        return None
    longer = [axis for axis in range(len(size)) if size[axis] != alone[axis]]
    if not alone.numel() and not size.numel():
        return []
    if len(longer) != 1 or size[longer[0]] != ROWS * alone[longer[0]]:
        return None
    return [(longer[0], False), (longer[0], True)]


def _put(parts: Sequence[Tensor], where: tuple[int, bool]) -> Tensor:
    axis, fastest = where
    return (
        torch.stack(list(parts), axis + 1).flatten(axis, axis + 1)
        if fastest
        else torch.cat(list(parts), axis)
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    scale = float(other.nan_to_num(posinf=0.0, neginf=0.0).abs().max())
    return torch.allclose(one, other, rtol=0.0, atol=CLOSE * scale + 1e-12, equal_nan=True)


def freed(nodes: Sequence[Mapping[str, Any]], *, states: bool = False) -> list[Any]:
    """The nodes with the number of inputs where shapes begin with a batch of one.

    Args:
        nodes: inlined, of a program for one input at a time.
        states: whether new tensors of three axes have the batch second, as recurrent layers' states do.
    """
    views = ("view", "_unsafe_view", "reshape", "expand")
    news = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
    made: list[Any] = []
    for node in nodes:
        name, inputs = node["target"].removeprefix(ATEN).partition(".")[0], dict(node["inputs"])
        for key in ("size", "shape"):
            sizes = inputs.get(key)
            if name not in (*views, *news) or not isinstance(sizes, list):
                continue
            place = 1 if states and name in news and len(sizes) == 3 else 0
            if len(sizes) > 1 and sizes[place] == 1 and type(sizes[place]) is int:
                inputs[key] = [*sizes[:place], {"batch": "given"}, *sizes[place + 1 :]]
        made.append({**node, "inputs": inputs})
    return made


def any_number(
    nodes: Sequence[Mapping[str, Any]], values: Mapping[str, Any], given: str, shape: Sequence[int]
) -> list[Any] | None:
    """Nodes for any number of inputs of those for one at a time; None where that takes more than shapes."""
    for states in (False, True):
        made = freed(nodes, states=states)
        try:
            if not joined_where(made, values, given, shape):
                return made
        except (Failed, Refused):
            continue
    return None
