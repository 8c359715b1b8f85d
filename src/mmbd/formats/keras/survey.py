"""Everything in a description that could be code, and every layer that is not known: refused, all at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmbd.base.errors import Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats.keras.config import MODELS

# What stands for Python code, or for a file with code in it.
CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
OURS = ("keras", "tensorflow.keras", "tensorflow.python.keras", "tf_keras", "keras_core")
ADVICE = (
    "If you trust the model, save it without these layers (a Rescaling in place of a Lambda that divides by "
    "255, say), or export it to ONNX and scan that"
)
IDLE = ("_initializer", "_regularizer", "_constraint", "compile_config")  # of training, never read here
WRAPPED = ("layer", "forward_layer", "backward_layer", "backward_layer_config", "cell")


def refuse_unknown(
    described: Mapping[str, Any], layers: Collection[str], operations: Collection[str]
) -> None:
    """Go through a description, and do nothing if all of it is known.

    Args:
        described: the model, as it stands in the file.
        layers: the classes of layers that are known.
        operations: the functions of Keras on tensors that are known.

    Raises:
        Refused: layers that hold code, classes that are not Keras' own, classes that are not known here;
            by name, each with its layers.
    """
    code: dict[str, str] = {}
    foreign: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for kind, where, entry, is_layer in _classes(described):
        module, registered = entry.get("module"), entry.get("registered_name")
        own = module is None or (isinstance(module, str) and module.startswith(OURS))
        if kind in CODE:
            code.setdefault(kind, where)
        elif kind == "function":
            code.setdefault(f"the function {clean_text(str(entry.get('config')), 60)}", where)
        elif not own or (registered is not None and registered != kind):
            foreign.setdefault(str(registered or f"{module}.{kind}"), where)
        elif is_layer and kind not in MODELS:
            called = isinstance(module, str) and module.startswith(("keras.src.ops", "keras.ops"))
            if kind == "TFOpLambda":
                config = entry.get("config")
                function = config.get("function") if isinstance(config, Mapping) else None
                kind, called = f"TFOpLambda {function}", True
            if kind not in (operations if called else layers):
                unknown.setdefault(kind, where)
    parts: list[str] = []
    for found, what in (
        (code, "layers that hold code"),
        (foreign, "classes that are not Keras' own"),
        (unknown, "layers that mmbd does not know"),
    ):
        if found:
            named = listed((f"{clean_text(kind)} ({clean_text(where)})" for kind, where in found.items()), 20)
            parts.append(f"{what}: {named}")
    if parts:
        raise Refused(f"the Keras model has {'; '.join(parts)}. Nothing of it was run. {ADVICE}")


def _classes(described: Any) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    """Every class that is named: its name, the layer it is in, its entry, and whether it is a layer."""
    left: list[tuple[Any, str, bool]] = [(described, "the model", True)]
    while left:
        value, where, is_layer = left.pop()
        if isinstance(value, list):
            left += [(each, where, is_layer) for each in reversed(value)]
        if not isinstance(value, Mapping):
            continue
        kind, config = value.get("class_name"), value.get("config")
        if isinstance(kind, str):
            name = config.get("name", value.get("name")) if isinstance(config, Mapping) else None
            where = name if is_layer and isinstance(name, str) else where
            yield kind, where, value, is_layer
            inside = isinstance(config, list) and kind in MODELS  # the oldest Sequential
            left.append((config, where, inside))
            others = [
                each for key, each in value.items() if key not in ("class_name", "config", "compile_config")
            ]
        else:
            others = [
                each
                for key, each in value.items()
                if key not in ("layers", *WRAPPED) and not str(key).endswith(IDLE)
            ]
            layers = [value[key] for key in ("layers", *WRAPPED) if key in value]
            left += [(each, where, True) for each in reversed(layers)]
        left += [(each, where, False) for each in reversed(others)]
