"""The operations of a checked program in their order, each looked up in the table of those allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text
from mmbd.formats.advice import broken
from mmbd.formats.exported import operators
from mmbd.formats.exported.functions import AS_FUNCTIONS
from mmbd.formats.exported.operators import ATEN

TRAINING = {"training", "train", "use_input_stats"}
OUT_OF_TRAINING = (
    "the program was exported in training mode, where answers are random or depend on the rest of the batch: "
    "call model.eval() and export it again"
)


def run(
    nodes: Sequence[Mapping[str, Any]],
    values: dict[str, Any],
    own: set[str],
    device: torch.device,
    seen: Callable[[Any], None] | None = None,
) -> None:
    """Do the operations of a graph in their order, on the values by name; they get theirs.

    Args:
        nodes: of a checked graph.
        values: what there is by name; what the operations give is added.
        own: names of weights, and of what shares their memory; names are added.
        device: where new tensors are made.
        seen: called with every output.
    """
    for node in nodes:
        target, inputs = node["target"], node["inputs"]
        if target in operators.SKIPPED:
            continue
        if target in operators.WRAPPERS:
            output = _inner(target, inputs, values, own, device, seen)
        else:
            given = {name: value_of(value, values, device) for name, value in inputs.items()}
            first = next(iter(inputs.values()), None)
            if target in operators.CHANGING and named(first) in own:
                raise Failed(
                    "the program changes its own weights while it answers: export it after model.eval()"
                )
            output = _apply(target, given, device)
        if seen is not None:
            seen(output)
        names = [named(each) for each in node["outputs"]]
        if node["outputs"] and isinstance(node["outputs"][0], list):  # one list of tensors
            names = [named(each) for each in node["outputs"][0]]
        parts = list(output) if len(names) > 1 or isinstance(output, tuple | list) else [output]
        if len(parts) != len(names):
            raise broken(f"an operation of the program ({clean_text(target, 60)}) gives {len(parts)} values")
        shared = target in operators.VIEWS and named(next(iter(inputs.values()), None)) in own
        for name, part in zip(names, parts, strict=True):
            if name:
                values[name] = part
                if shared:
                    own.add(name)


def _inner(
    target: str,
    inputs: Mapping[str, Any],
    values: Mapping[str, Any],
    own: set[str],
    device: torch.device,
    seen: Callable[[Any], None] | None,
) -> Any:
    """Run the graph that a wrapper holds on the arguments after it, without what it sets."""
    arguments = list(inputs.values())
    place = operators.WRAPPERS[target]
    drawn = (
        arguments[place].get("graph")
        if len(arguments) > place and isinstance(arguments[place], dict)
        else None
    )
    passed = arguments[place + 1 :]
    if drawn is None or len(drawn["inputs"]) != len(passed):
        raise broken("the exported program has a graph within that does not fit where it is")
    inner = {
        name: value_of(value, values, device) for name, value in zip(drawn["inputs"], passed, strict=True)
    }
    within = {name for name, value in zip(drawn["inputs"], passed, strict=True) if named(value) in own}
    run(drawn["nodes"], inner, within, device, seen)
    return tuple(value_of(each, inner, device) for each in drawn["outputs"])


def named(value: Any) -> str:
    """The name of a value of the graph; "" for any other."""
    if isinstance(value, dict):
        return value.get("tensor") or value.get("size") or ""
    return ""


def value_of(value: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    """What an argument stands for."""
    if isinstance(value, list):
        return [value_of(each, values, device) for each in value]
    if not isinstance(value, dict):
        return value
    (kind, what), *_ = value.items()
    if kind in ("tensor", "size"):
        if what not in values:
            raise broken(f"the exported program uses {clean_text(str(what), 60)} before anything gives it")
        return values[what]
    if kind == "device":
        return device
    if kind in ("dtype", "memory_format"):
        return getattr(torch, what)
    raise broken("the exported program has a graph where a value belongs")


@cache
def signature(target: str) -> dict[str, tuple[bool, Any]]:
    """An operation's arguments by name: whether they go by name alone, and what they are by default."""
    arguments = operators.table()[target]._schema.arguments
    return {argument.name: (argument.kwarg_only, argument.default_value) for argument in arguments}


def _apply(target: str, given: dict[str, Any], device: torch.device) -> Any:
    """One operation on its arguments by name."""
    if target in operators.ON_SIZES:
        try:
            return operators.ON_SIZES[target](*given.values())
        except Exception as error:  # numbers of whoever wrote the file
            raise broken(f"the program's sizes do not add up ({clean_text(str(error), 100)})") from None
    overload = operators.table()[target]
    known = signature(target)
    if strange := [name for name in given if name not in known]:
        raise broken(f"{clean_text(target, 60)} has no argument {clean_text(strange[0], 40)}")
    if any(given.get(name) is True for name in TRAINING) or given.get("dropout_p"):
        raise Failed(OUT_OF_TRAINING)
    places = [name for name, (alone, _) in known.items() if not alone]
    last = max((place for place, name in enumerate(places) if name in given), default=-1)
    positional = [given.get(name, known[name][1]) for name in places[: last + 1]]
    keyword = {name: value for name, value in given.items() if known[name][0]}
    if target in operators.FROM_NOTHING:
        keyword["device"] = device
    # Networks are run in single precision, whatever they were exported in.
    if isinstance(kind := keyword.get("dtype"), torch.dtype) and kind in (torch.float16, torch.bfloat16):
        keyword["dtype"] = torch.float32
    call: Callable[..., Any] = AS_FUNCTIONS.get(target.removeprefix(ATEN)) or overload
    try:
        return call(*positional, **keyword)
    except (Failed, Refused, MemoryError):
        raise
    except Exception as error:  # arguments of whoever wrote the file
        words = clean_text(str(error).partition("\n")[0], 200)
        raise Failed(
            f"{clean_text(target.removeprefix(ATEN), 60)} in the program does not take what it is given: "
            f"{words}. See that --input is the shape that it was exported for"
        ) from error
