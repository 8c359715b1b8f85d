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

OTHER_PRECISIONS = (torch.float64, torch.float16, torch.bfloat16)
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
    seen: Callable[[str, Mapping[str, Any], Any], None] | None = None,
) -> None:
    """Do the operations of a graph in their order, on the values by name; they get theirs.

    Args:
        nodes: of a checked graph, `inlined`.
        values: what there is by name, and under "" the number of inputs; what the operations give is added.
        own: names of weights, and of what shares their memory; names are added.
        device: where new tensors are made.
        seen: called with every operation's name, its arguments by name and its output.
    """
    for node in nodes:
        step(node, values, own, device, seen)


def step(
    node: Mapping[str, Any],
    values: dict[str, Any],
    own: set[str],
    device: torch.device,
    seen: Callable[[str, Mapping[str, Any], Any], None] | None = None,
) -> None:
    """Do one operation; see `run`."""
    target, inputs = node["target"], node["inputs"]
    if target in operators.SKIPPED:
        return
    given = {name: value_of(value, values, device) for name, value in inputs.items()}
    first = next(iter(inputs.values()), None)
    if target in operators.CHANGING and named(first) in own:
        raise Failed("the program changes its own weights while it answers: export it after model.eval()")
    output = _apply(target, given, device)
    if seen is not None:
        seen(target, given, output)
    names = results(node)
    parts = list(output) if len(names) > 1 or isinstance(output, tuple | list) else [output]
    if len(parts) != len(names):
        raise broken(f"an operation of the program ({clean_text(target, 60)}) gives {len(parts)} values")
    shared = target in operators.VIEWS and named(first) in own
    for name, part in zip(names, parts, strict=True):
        if name:
            values[name] = part
            if shared:
                own.add(name)


def results(node: Mapping[str, Any]) -> list[str]:
    """The names of what an operation gives; "" where it gives nothing that is used."""
    outputs = node["outputs"]
    if outputs and isinstance(outputs[0], list):  # one list of tensors
        outputs = outputs[0]
    return [named(each) for each in outputs]


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
    if kind == "batch":
        return values[""]
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
    # Networks are run in single precision, whatever they were exported in.
    positional = [torch.float32 if _other(value) else value for value in positional]
    keyword = {
        name: torch.float32 if _other(value) else value for name, value in given.items() if known[name][0]
    }
    if target in operators.FROM_NOTHING:
        keyword["device"] = device
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


def _other(value: Any) -> bool:
    """Whether it is another precision than single."""
    return isinstance(value, torch.dtype) and value in OTHER_PRECISIONS
