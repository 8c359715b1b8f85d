"""A model's description: JSON of a stranger, checked, as layers and how they are connected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmbd.base.errors import Failed
from mmbd.base.reading import strict_json
from mmbd.base.text import clean_text
from mmbd.formats.advice import KERAS_AGAIN, broken, excessive
from mmbd.formats.keras.inbound import Call, Ref, calls, outputs
from mmbd.formats.keras.settings import Settings

MOST_TEXT = 64 << 20  # bytes
MOST_LAYERS = 5_000
MOST_DEEP = 16  # models in models
TWOFOLD = ("Add", "Subtract", "Multiply")  # layers, and functions of two arguments
MODELS = ("Sequential", "Functional", "Model")


@dataclass(frozen=True)
class Described:
    """One layer, as its model describes it.

    Args:
        kind: its class, such as Conv2D.
        name: in its model.
        settings: its configuration.
        calls: every time that it is used, by the order of `inbound_nodes`; empty in a Sequential.
        inner: the layers of a model that is a layer here; None for all others.
        operation: whether it is a function of Keras that was called on tensors, and no layer.
    """

    kind: str
    name: str
    settings: Settings
    calls: tuple[Call, ...] = ()
    inner: Model | None = None
    operation: bool = False


@dataclass(frozen=True)
class Model:
    """A Sequential or a Functional model: its layers, and which outputs are its own."""

    kind: str
    name: str
    layers: tuple[Described, ...]
    inputs: tuple[Ref, ...] = ()
    outputs: tuple[Ref, ...] = ()
    shape: tuple[int | None, ...] | None = field(default=None)


def parse(text: bytes | bytearray | str) -> dict[str, Any]:
    """JSON as plain data.

    Raises:
        Failed: no JSON, no object, too large, nested too deeply, a key twice, or numbers that are none.
    """
    if len(text) > MOST_TEXT:
        raise excessive(f"the description has {len(text):,} characters, the limit is {MOST_TEXT:,}")
    try:
        value = strict_json(text)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else clean_text(str(error), 100)
        raise broken(f"the model's description is no JSON ({why})") from None
    if not isinstance(value, dict):
        raise broken("the model's description is no JSON object")
    return value


def model(described: Any, depth: int = 0) -> Model:
    """The model that is described, after `survey.refuse_unknown` has seen it.

    Raises:
        Failed: it does not add up: names twice, layers without a name, no layers, no inputs.
    """
    if depth > MOST_DEEP:
        raise Failed(f"models in models in models, more than {MOST_DEEP}, which is not loaded: {KERAS_AGAIN}")
    kind, config = _kind(described), described.get("config")
    name, entries = kind, config
    if isinstance(config, Mapping):
        name, entries = str(config.get("name", kind)), config.get("layers")
    if kind not in MODELS or not isinstance(entries, list):
        raise broken("the description is not one of a Sequential or Functional model")
    if not entries or len(entries) > MOST_LAYERS:
        raise Failed(f"the model has {len(entries):,} layers, expected 1 to {MOST_LAYERS:,}: {KERAS_AGAIN}")
    names = [_name(entry) for entry in entries]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Failed(
            f"two layers are called {clean_text(twice)!r}: the file is broken or made up; {KERAS_AGAIN}"
        )
    known, sequential = frozenset(names), kind == "Sequential"
    layers = tuple(
        _layer(entry, name, known, sequential, depth) for entry, name in zip(entries, names, strict=True)
    )
    if sequential or not isinstance(config, Mapping):
        return Model("Sequential", name, layers, shape=_sequential_shape(config, layers))
    return Model(
        "Functional",
        name,
        layers,
        outputs(config.get("input_layers"), known),
        outputs(config.get("output_layers"), known),
    )


def _layer(entry: Any, name: str, known: frozenset[str], sequential: bool, depth: int) -> Described:
    kind, config = _kind(entry), entry.get("config")
    made = () if sequential else calls(entry.get("inbound_nodes", []), known, name)
    inner = model(entry, depth + 1) if kind in MODELS else None
    config = config if isinstance(config, Mapping) else {}
    module = entry.get("module")
    operation = kind == "TFOpLambda" or (
        isinstance(module, str) and module.startswith(("keras.src.ops", "keras.ops"))
    )
    # HDF5 files leave the module out: a layer `Multiply` is called on a list, the function is not.
    operation |= module is None and kind in TWOFOLD and any(len(call.args) == 2 for call in made)
    return Described(kind, name, Settings(kind, name, config), made, inner, operation)


def _sequential_shape(config: Any, layers: tuple[Described, ...]) -> tuple[int | None, ...] | None:
    """The shape of the input of a Sequential model, without the batch, where the file says it."""
    first = layers[0].settings.values
    built = config.get("build_input_shape") if isinstance(config, Mapping) else None
    return shape_of(first.get("batch_shape", first.get("batch_input_shape", built)))


def shape_of(value: Any) -> tuple[int | None, ...] | None:
    """A shape with its batch, as one without; None where it is no shape."""
    if not isinstance(value, list | tuple) or not 1 < len(value) < 8:
        return None
    rest = value[1:]
    if all(each is None or (type(each) is int and 0 < each <= MOST_TEXT) for each in rest):
        return tuple(rest)
    return None


def _kind(entry: Any) -> str:
    kind = entry.get("class_name") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str):
        raise broken("the description has a layer without a class")
    return kind


def _name(entry: Any) -> str:
    config = entry.get("config") if isinstance(entry, Mapping) else None
    inside = config.get("name") if isinstance(config, Mapping) else None
    name = entry.get("name", inside) if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or not name or len(name) > 1000:
        raise broken("the description has a layer without a name")
    return name
