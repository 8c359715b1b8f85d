"""A program's graphs as one: graphs within take the place of the operations that run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmbd.formats.advice import broken
from mmbd.formats.exported import operators
from mmbd.formats.exported.running import named, results


def inlined(
    nodes: Sequence[Mapping[str, Any]], outputs: Sequence[Any], taken: Sequence[str] = ()
) -> tuple[list[Any], list[Any]]:
    """The nodes without wrappers, and the outputs as they are then called.

    What a wrapper sets around its graph, gradients off or another precision, changes no answer or is left
    out, as networks are run in single precision.

    Args:
        nodes: as `schema.graph` has them.
        outputs: likewise.
        taken: names that nothing may be given.

    Raises:
        Failed: a graph within that does not fit where it is, or two values of one name.
    """
    made: list[Any] = []
    found = _into(made, nodes, outputs, {}, "")
    names = [*taken, *(name for node in made for name in results(node) if name)]
    if len(set(names)) != len(names):
        raise broken("the exported program has two values of one name")
    return made, found


def _into(
    made: list[Any],
    nodes: Sequence[Mapping[str, Any]],
    outputs: Sequence[Any],
    known: dict[str, Any],
    prefix: str,
) -> list[Any]:
    """Add a graph's nodes; its outputs. `known` says what names stand for, others get the prefix."""

    def meant(value: Any) -> Any:
        if isinstance(value, list):
            return [meant(each) for each in value]
        if name := named(value):
            kind = next(iter(value))
            return known.get(name, {kind: prefix + name})
        return value

    for node in nodes:
        if node["target"] not in operators.WRAPPERS:
            inputs = {key: meant(value) for key, value in node["inputs"].items()}
            for name in results(node):  # given anew
                known.pop(name, None)
            made.append({**node, "inputs": inputs, "outputs": meant(node["outputs"])})
            continue
        arguments = list(node["inputs"].values())
        place = operators.WRAPPERS[node["target"]]
        held = arguments[place] if len(arguments) > place else None
        drawn = held.get("graph") if isinstance(held, dict) else None
        passed = [meant(each) for each in arguments[place + 1 :]]
        if drawn is None or len(drawn["inputs"]) != len(passed):
            raise broken("the exported program has a graph within that does not fit where it is")
        inner = dict(zip(drawn["inputs"], passed, strict=True))
        given = _into(made, drawn["nodes"], drawn["outputs"], inner, f"{prefix}{len(made)}/")
        names = results(node)
        if len(names) != len(given):
            raise broken("the exported program has a graph within that does not fit where it is")
        known.update(zip(names, given, strict=True))
    return [meant(each) for each in outputs]
