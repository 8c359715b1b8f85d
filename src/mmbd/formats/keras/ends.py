"""What a model ends in: a softmax or sigmoid, which logits do not go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmbd.formats.keras.config import Described, Model
from mmbd.formats.keras.layers.activations import name_of
from mmbd.formats.keras.layers.operations import ENDS_AS, OPERATIONS, function_of
from mmbd.formats.keras.layers.shape import IDLE

LEFT_OUT = ("softmax", "sigmoid")
THROUGH = (*IDLE, "Flatten", "Reshape")
WITH_END = ("Dense", "Activation")


@dataclass(frozen=True)
class End:
    """The layer whose last function, `function`, is the model's; `path` leads there through models in it."""

    path: tuple[str, ...]
    function: str


def end_of(model: Model, number: int = 0) -> End | None:
    """The function that a model's output goes through at last; None for logits, or what cannot be told.

    Raises:
        Failed: a layer whose activation function is none.
    """
    before = _before(model)
    if model.kind == "Sequential":
        layer = model.layers[-1]
    else:
        name = model.outputs[number].layer if number < len(model.outputs) else ""
        layer = next((layer for layer in model.layers if layer.name == name), None)
        if [ref.layer for ref in model.outputs].count(name) > 1:
            return None
    seen = 0
    while layer is not None and seen < len(model.layers):
        seen += 1
        if len(layer.calls) > 1 or _uses(model, layer.name) > (0 if seen == 1 else 1):
            return None
        if layer.inner is not None:
            inner = end_of(layer.inner)
            return None if inner is None else End((layer.name, *inner.path), inner.function)
        function = _function(layer)
        if function is not None:
            return End((layer.name,), function) if function in LEFT_OUT else None
        layer = before(layer)
    return None


def _function(layer: Described) -> str | None:
    """The function that the layer ends in; None where one may look at the layer before it."""
    if layer.operation:
        return ENDS_AS.get(OPERATIONS.get(function_of(layer.settings.values, layer.kind), ""), "other")
    if layer.kind == "Softmax":
        return "softmax"
    if layer.kind in WITH_END or layer.kind.startswith(("Conv", "SeparableConv")):
        name = name_of(layer.settings)
        return None if layer.kind == "Activation" and name == "linear" else name
    return None if layer.kind in THROUGH else "other"


def _uses(model: Model, name: str) -> int:
    """How many layers take an output of this one."""
    if model.kind == "Sequential":
        return 0
    return sum(ref.layer == name for layer in model.layers for call in layer.calls for ref in call.refs())


def _before(model: Model) -> Callable[[Described], Described | None]:
    """What gives the one layer that another gets its input from."""
    layers = {layer.name: layer for layer in model.layers}
    order = list(model.layers)

    def before(layer: Described) -> Described | None:
        if model.kind == "Sequential":
            place = order.index(layer)
            return order[place - 1] if place else None
        refs = [ref for call in layer.calls for ref in call.refs()]
        return layers.get(refs[0].layer) if len(refs) == 1 else None

    return before
