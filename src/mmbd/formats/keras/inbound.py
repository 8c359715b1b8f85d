"""Which layer's output goes into which layer, in the ways that Keras 2 and 3 write it down."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.formats.advice import KERAS_AGAIN

MOST_DEEP = 8
SEEN = ("training", "use_causal_mask", "return_attention_scores")  # arguments that layers look at
NAMED = ("inputs", "query", "value", "key")  # tensors by name, in the order that layers take them


@dataclass(frozen=True)
class Ref:
    """Output `index` of call number `call` of the layer of this name."""

    layer: str
    call: int
    index: int


@dataclass(frozen=True)
class Call:
    """One call of a layer: its arguments, in which a `Ref` may stand anywhere."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def refs(self) -> Iterator[Ref]:
        """All that the call needs."""
        yield from refs_in([*self.args, *self.kwargs.values()])

    def inputs(self) -> tuple[Ref, ...] | str:
        """The tensors that a layer is called on, in the order that it has for them; or what else it is given.

        Masks, states to begin with and numbers change what a layer computes, so they are told, not lost.
        """
        named = {name: value for name, value in self.kwargs.items() if not _idle(name, value)}
        for name, value in named.items():
            if name not in NAMED or not isinstance(value, Ref | list):
                return name
        positional = [each for each in self.args if each is not None]
        given = [*positional, *(named[name] for name in NAMED if name in named)]
        flat = [each for one in given for each in (one if isinstance(one, list) else [one])]
        if not all(isinstance(each, Ref) for each in flat):
            return "a number"
        return tuple(flat)


def _idle(name: str, value: Any) -> bool:
    """Whether an argument by name makes no difference, or one that its layer looks at itself."""
    return value is None or value is False or name in SEEN


def refs_in(value: Any) -> Iterator[Ref]:
    """The references anywhere in an argument."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from refs_in(each)


def calls(nodes: Any, layers: Container[str], where: str) -> tuple[Call, ...]:
    """The calls that `inbound_nodes` of a layer describes.

    Args:
        nodes: as in the description.
        layers: the names of all layers of the model.
        where: the layer's name, for messages.

    Raises:
        Failed: they are in none of Keras' ways.
    """
    try:
        return tuple(_call(node, layers) for node in _list(nodes))
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
        raise Failed(
            f"the description does not say how the layer {clean_text(where)!r} is connected in a way that "
            f"Keras has, so that the file is broken or made up: {KERAS_AGAIN}"
        ) from None


def outputs(value: Any, layers: Container[str]) -> tuple[Ref, ...]:
    """The references in a model's `input_layers` or `output_layers`: one, a list, or by name.

    Raises:
        Failed: anything else.
    """
    try:
        if isinstance(value, Mapping):
            value = list(value.values())
        if _is_ref(value, layers):
            return (_ref(value),)
        return tuple(_ref(each) for each in _list(value))
    except (TypeError, ValueError, LookupError):
        raise Failed(f"the model does not say which layers it starts and ends with: {KERAS_AGAIN}") from None


def _call(node: Any, layers: Container[str]) -> Call:
    if isinstance(node, Mapping):  # Keras 3
        kwargs = node.get("kwargs", {})
        if not isinstance(kwargs, Mapping):
            raise TypeError(kwargs)
        named = {str(name): _tensors(each, 0) for name, each in kwargs.items()}
        return Call(tuple(_tensors(each, 0) for each in _list(node["args"])), named)
    entries = _list(node)
    if entries and isinstance(entries[0], str):
        entries = [entries]  # one input alone
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for entry in entries:
        entry = _list(entry)
        if entry[0] == "_CONSTANT_VALUE":
            args.append(entry[2])
        else:
            args.append(_ref(entry))
        for name, each in (entry[3] if len(entry) > 3 else {}).items():
            kwargs[str(name)] = _tensors2(each, layers, 0)
    return Call((args if len(args) > 1 else args[0],), kwargs)


def _tensors(value: Any, depth: int) -> Any:
    """An argument of Keras 3 with its tensors as references."""
    if depth > MOST_DEEP:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_tensors(each, depth + 1) for each in value]
    if isinstance(value, Mapping):
        kind, held = value.get("class_name"), value.get("config")
        if kind == "__keras_tensor__" and isinstance(held, Mapping):
            return _ref(held["keras_history"])
        if kind == "__tuple__":
            return [_tensors(each, depth + 1) for each in _list(value.get("items", held))]
        raise ValueError(kind)
    return value


def _tensors2(value: Any, layers: Container[str], depth: int) -> Any:
    """An argument by name of Keras 2: what looks like a reference to a layer that there is, is one."""
    if depth > MOST_DEEP:
        raise ValueError("nested too deeply")
    if _is_ref(value, layers):
        return _ref(value)
    if isinstance(value, list):
        return [_tensors2(each, layers, depth + 1) for each in value]
    if isinstance(value, Mapping):
        raise ValueError("a mapping")
    return value


def _is_ref(value: Any, layers: Container[str]) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and value[0] in layers
        and all(type(each) is int for each in value[1:3])
    )


def _ref(value: Any) -> Ref:
    name, call, index = _list(value)[:3]
    if not isinstance(name, str) or type(call) is not int or type(index) is not int:
        raise TypeError(value)
    if call < 0 or index < 0:
        raise ValueError(value)
    return Ref(name, call, index)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value
