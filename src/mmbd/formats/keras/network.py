"""A model of layers as one network: which layer runs when, on which outputs of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.base.text import clean_text
from mmbd.formats.advice import KERAS_AGAIN
from mmbd.formats.keras import config
from mmbd.formats.keras.config import Described, Model
from mmbd.formats.keras.ends import End
from mmbd.formats.keras.inbound import Call, Ref
from mmbd.formats.keras.layers.making import Making
from mmbd.formats.keras.layers.operations import function_of, operation
from mmbd.formats.keras.layers.table import LAYERS
from mmbd.formats.keras.values import Value, applied
from mmbd.formats.keras.weights import Weights

MOST_STEPS = 100_000


@dataclass(frozen=True)
class Step:
    """Run the layer `module` on outputs of earlier steps; its own outputs are kept as (layer, call)."""

    layer: str
    call: int
    module: str
    inputs: tuple[Ref, ...]


class Network(nn.Module):
    """The layers of one model, and the order of their calls.

    Args:
        modules: the layers by the names that steps have for them.
        steps: in an order in which every input is there before it is needed.
        inputs: the layers that stand for the model's inputs.
        outputs: what the model returns.
    """

    layout = "any"

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        steps: Sequence[Step],
        inputs: Sequence[str],
        outputs: Sequence[Ref],
    ) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.steps, self.inputs, self.outputs = tuple(steps), tuple(inputs), tuple(outputs)

    def values(self, given: Sequence[Value]) -> tuple[Value, ...]:
        """The model's outputs for its inputs, in whatever arrangement they come."""
        if len(given) != len(self.inputs):
            raise Failed(f"a model of {len(self.inputs)} inputs is called with {len(given)}: {KERAS_AGAIN}")
        known: dict[tuple[str, int], tuple[Value, ...]] = {
            (name, 0): (value,) for name, value in zip(self.inputs, given, strict=True)
        }
        for step in self.steps:
            inputs = tuple(self._one(known, ref) for ref in step.inputs)
            module = self._modules[step.module]
            assert module is not None
            if isinstance(module, Network):
                known[step.layer, step.call] = module.values(inputs)
            else:
                known[step.layer, step.call] = applied(module, inputs)
        return tuple(self._one(known, ref) for ref in self.outputs)

    def forward(self, *inputs: Tensor, moved: bool = False) -> Any:
        """As a layer in another: outputs as Keras has them."""
        found = tuple(value.arranged(moved) for value in self.values([Value(each, moved) for each in inputs]))
        return found[0] if len(found) == 1 else found

    @staticmethod
    def _one(known: Mapping[tuple[str, int], tuple[Value, ...]], ref: Ref) -> Value:
        values = known[ref.layer, ref.call]
        if ref.index >= len(values):
            raise Failed(f"the layer {clean_text(ref.layer)!r} has no output {ref.index}: {KERAS_AGAIN}")
        return values[ref.index]


def network(model: Model, weights: Weights, ends: Sequence[End] = (), within: bool = False) -> Network:
    """The network of a model, with all its weights.

    Args:
        model: as `config.model` has it.
        weights: the file's.
        ends: layers whose last function is left out.
        within: whether it is a model in another, which sees to it that all weights are taken.

    Raises:
        Failed: connections that lead nowhere or in a circle, weights that are missing or do not fit.
        Refused: what a layer is asked to do is not known.
    """
    layers = {layer.name: layer for layer in model.layers}
    bare = {end.path[0]: end for end in ends if len(end.path) == 1}
    inner = {end.path[0]: replace(end, path=end.path[1:]) for end in ends if len(end.path) > 1}
    modules: dict[str, nn.Module] = {}
    keys = {layer.name: f"{number}_{_plain(layer.name)}" for number, layer in enumerate(model.layers)}
    for layer in model.layers:
        held = weights.layer(layer)
        if layer.inner is not None:
            end = (inner[layer.name],) if layer.name in inner else ()
            modules[keys[layer.name]] = network(layer.inner, held, end, within=True)
        elif not layer.operation:
            modules[keys[layer.name]] = _made(layer, held, layer.name in bare)
        left = [] if within else held.left()
        if left:
            raise Failed(
                f"the file has weights that the layer {clean_text(layer.name)!r} ({layer.kind}) has no use "
                f"for, {clean_text(left[0])}: {KERAS_AGAIN}"
            )
    if model.kind == "Sequential":
        steps, inputs, outputs = _chain(model, keys)
    else:
        steps, inputs, outputs = _ordered(model, layers, keys)
    steps = [_operated(step, layers[step.layer], modules, step.layer in bare) for step in steps]
    return Network(modules, steps, inputs, outputs)


def _plain(name: str) -> str:
    """A name as a module may have it."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign == "_") else "_" for sign in name[:60])


def _made(layer: Described, weights: Weights, bare: bool) -> nn.Module:
    calls = {name: value for call in layer.calls for name, value in call.kwargs.items()}
    return LAYERS[layer.kind](Making(layer.settings, weights, _within, calls, bare))


def _within(entry: Any, weights: Weights) -> nn.Module:
    """A layer in the settings of another."""
    single = {"class_name": "Sequential", "config": [entry]}
    layer = config.model(single).layers[0]
    if layer.inner is not None:
        return network(layer.inner, weights, within=True)
    return _made(layer, weights, False)


def _operated(step: Step, layer: Described, modules: dict[str, nn.Module], bare: bool) -> Step:
    """A step of an operation with the operation as its module."""
    if not layer.operation:
        return step
    name = f"{step.module}_{step.call}"
    kind = function_of(layer.settings.values, layer.kind)
    call = layer.calls[step.call] if layer.calls else Call(step.inputs, {})
    modules[name], inputs = operation(kind, call, bare)
    return replace(step, module=name, inputs=inputs)


def _chain(model: Model, keys: Mapping[str, str]) -> tuple[list[Step], list[str], list[Ref]]:
    """The steps of a Sequential model, one behind the other."""
    before, steps = Ref("", 0, 0), list[Step]()
    for layer in model.layers:
        if layer.kind == "InputLayer":
            continue
        steps.append(Step(layer.name, 0, keys[layer.name], (before,)))
        before = Ref(layer.name, 0, 0)
    return steps, [""], [before]


def _ordered(
    model: Model, layers: Mapping[str, Described], keys: Mapping[str, str]
) -> tuple[list[Step], list[str], list[Ref]]:
    """The calls that the outputs need, each after those whose outputs it takes."""
    shifted = _shifted(model)
    outputs = [shifted(ref) for ref in model.outputs]
    inputs = [ref.layer for ref in model.inputs]
    if not inputs or not outputs:
        raise Failed(f"the model does not say which layers it starts and ends with: {KERAS_AGAIN}")
    done: set[tuple[str, int]] = {(name, 0) for name in inputs}
    open_: set[tuple[str, int]] = set()
    steps: list[Step] = []
    left = [(ref.layer, ref.call) for ref in reversed(outputs)]
    while left:
        key = left[-1]
        if key in done:
            left.pop()
            continue
        layer = layers.get(key[0])
        if layer is None or key[1] >= len(layer.calls):
            raise Failed(
                f"the model takes an output of {clean_text(key[0])!r} that there is not: {KERAS_AGAIN}"
            )
        refs = tuple(map(shifted, _inputs(layer, layer.calls[key[1]])))
        waiting = [(ref.layer, ref.call) for ref in refs if (ref.layer, ref.call) not in done]
        if not waiting:
            left.pop()
            open_.discard(key)
            done.add(key)
            steps.append(Step(layer.name, key[1], keys[layer.name], refs))
        elif key in open_ and any(other in open_ for other in waiting):
            raise Failed(f"the model's layers lead in a circle at {clean_text(key[0])!r}: {KERAS_AGAIN}")
        else:
            open_.add(key)
            left += waiting
        if len(left) > MOST_STEPS:
            raise Failed(f"the model's layers are connected in more ways than any network's: {KERAS_AGAIN}")
    return steps, inputs, outputs


def _inputs(layer: Described, call: Call) -> Sequence[Ref]:
    """What a layer is called on."""
    found = tuple(call.refs()) if layer.operation else call.inputs()
    if call.kwargs.get("training") is True and "BatchNormalization" in layer.kind:
        found = "training=True, so that it goes by the statistics of each batch"
    if isinstance(found, str):
        raise layer.settings.refused(f"is called with {clean_text(found, 100)}")
    return found


def _shifted(model: Model) -> Any:
    """Numbers of calls from 0: Keras counts those of models in models from 1 where it made them apart."""
    nested = {layer.name: len(layer.calls) for layer in model.layers if layer.inner is not None}
    refs = [*model.outputs, *(ref for layer in model.layers for call in layer.calls for ref in call.refs())]
    met: dict[str, set[int]] = {}
    for ref in refs:
        met.setdefault(ref.layer, set()).add(ref.call)
    from_one = {name for name, count in nested.items() if count in met.get(name, ()) and 0 not in met[name]}
    return lambda ref: replace(ref, call=ref.call - 1) if ref.layer in from_one else ref
