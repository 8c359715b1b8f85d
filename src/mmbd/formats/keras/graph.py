"""A file of Keras as one network: inputs as mmbd has them, logits at its end, nothing larger than it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmbd.base import reading
from mmbd.base.errors import Failed, Refused
from mmbd.base.text import clean_text, listed
from mmbd.formats.advice import INPUT, KERAS_AGAIN
from mmbd.formats.format import Contents, Graph
from mmbd.formats.keras import config
from mmbd.formats.keras.config import Described, Model
from mmbd.formats.keras.ends import End, end_of
from mmbd.formats.keras.layers.making import limited
from mmbd.formats.keras.layers.shape import IDLE
from mmbd.formats.keras.layers.table import LAYERS, OPERATIONS
from mmbd.formats.keras.network import Network, network
from mmbd.formats.keras.survey import refuse_unknown
from mmbd.formats.keras.values import Value
from mmbd.formats.keras.weights import weights_of
from mmbd.formats.options import LoadOptions

MOST_NUMBERS = 1 << 27  # made by all functions for one input
MOST_CALLS = 500_000
PLACES = {"1D": 1, "2D": 2, "3D": 3}
ALONE = (
    "the file has the weights of a Keras model and not the model: give its description, which "
    "model.to_json() writes, with --arch model.json"
)
ONE = "save the part of it that classifies as a model of one input, and scan that"


class Logits(nn.Module):
    """A model whose inputs have their channels first, and whose outputs are logits.

    Args:
        network: the model.
        turned: whether its channels are last in Keras.
        names: of its outputs, where there are several.
        binary: whether its one output is the logit of the second of two classes.
    """

    def __init__(
        self, network: Network, turned: bool, names: tuple[str, ...] = (), binary: bool = False
    ) -> None:
        super().__init__()
        self.network, self.turned, self.names, self.binary = network, turned, names, binary

    def forward(self, x: Tensor) -> Any:
        """Logits (n, classes) for inputs (n, *shape); by name where there are several outputs."""
        found = [value.arranged(False) for value in self.network.values([Value(x, self.turned)])]
        if self.names:
            return dict(zip(self.names, found, strict=True))
        (output,) = found
        if self.binary and output[0].numel() == 1:
            output = output.reshape(-1, 1)
            return torch.cat([-output / 2, output / 2], 1)
        return output


def build(held: Contents, options: LoadOptions) -> Graph:
    """The network in a file that `files` has read.

    Raises:
        Refused: layers that hold code or are not known; more than one input.
        Failed: a description or weights that do not add up, or weights alone.
    """
    described, from_arch = held.value.get("config"), False
    if described is None:
        if not isinstance(options.arch, str) or not options.arch.endswith(".json"):
            raise Failed(ALONE)
        described, from_arch = _given(options.arch), True
    refuse_unknown(described, LAYERS.keys(), OPERATIONS.keys())
    if "(Keras 2." in held.format or "(Keras 1." in held.format:
        described = _older(described)
    model = config.model(described)
    if model.kind == "Functional" and len(model.inputs) != 1:
        raise Refused(
            f"the Keras model takes {len(model.inputs)} inputs, and mmbd scans classifiers of one: {ONE}"
        )
    names = tuple(ref.layer for ref in model.outputs) if len(model.outputs) > 1 else ()
    found = [end_of(model, number) for number in range(max(1, len(model.outputs)))]
    ends = [end for end in found if end is not None] if options.ends_in is None else []
    weights = weights_of(held.value)
    net = network(model, weights, ends)
    if left := weights.left():
        raise Failed(
            f"the file has weights that no layer of the model has, {clean_text(left[0])}: {KERAS_AGAIN}"
        )
    shape = _input_shape(model)
    turned = _turned(model, shape if shape is not None else (None,) * len(options.input_shape or ()))
    if shape is not None and turned:
        shape = (shape[-1], *shape[:-1])
    known = None if shape is None or None in shape else tuple(int(each or 0) for each in shape)
    notes = tuple(_notes(ends, turned, model))
    binary = not names and any(end.function == "sigmoid" for end in ends)
    module = Logits(net, turned, names, binary)
    if wanted := options.input_shape or known:
        _measured(module, tuple(wanted))
    bounds = (0.0, 255.0) if _scales_bytes(model) else None
    return Graph(module.eval(), _name(model), known, bounds, notes=notes, from_arch=from_arch)


def _given(path: str) -> dict[str, Any]:
    """The description in a file that the user names."""
    try:
        return config.parse(reading.text(path, config.MOST_TEXT))
    except OSError as error:
        raise Failed(
            f"{clean_text(path, 200)} cannot be read ({error.strerror or error}): see that the path is right"
        ) from None


def _older(value: Any, key: str = "") -> Any:
    """A description of Keras 2 in the words of Keras 3, where one word means two things."""
    if isinstance(value, Mapping):
        return {name: _older(each, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_older(each, key) for each in value]
    if value == "hard_sigmoid" and key.endswith("activation"):
        return "hard_sigmoid2"
    return value


def _input_shape(model: Model) -> tuple[int | None, ...] | None:
    if model.kind == "Sequential":
        first = model.layers[0]
        return model.shape or (None if first.inner is None else _input_shape(first.inner))
    name = model.inputs[0].layer
    values = next((layer.settings.values for layer in model.layers if layer.name == name), {})
    return config.shape_of(values.get("batch_shape", values.get("batch_input_shape")))


def _everything(model: Model) -> Iterator[Described]:
    for layer in model.layers:
        yield layer
        if layer.inner is not None:
            yield from _everything(layer.inner)


def _turned(model: Model, shape: tuple[int | None, ...]) -> bool:
    """Whether inputs of this shape, as Keras has it, have their channels last."""
    for layer in _everything(model):
        dims = PLACES.get(layer.kind.removesuffix("Transpose")[-2:])
        if dims is not None and dims + 1 == len(shape):
            return not layer.settings.channels_first
    return len(shape) == 3 and shape[-1] in (1, 3, 4)


def _scales_bytes(model: Model) -> bool:
    """Whether the first thing that a model does is to take 0 to 255 to 0 to 1 or -1 to 1."""
    for layer in _everything(model):
        if layer.inner is not None or layer.kind in IDLE or layer.kind == "Resizing":
            continue
        if layer.kind != "Rescaling":
            return False
        scale = layer.settings.numbers("scale")
        return all(0.9 < each * 255 < 2.1 for each in scale)
    return False


def _notes(ends: list[End], turned: bool, model: Model) -> Iterator[str]:
    for end in ends:
        where = clean_text(end.path[-1])
        yield f"the {end.function} at the network's end ({where}) is left out: what goes in are the logits"
    if turned:
        yield "inputs are (channels, height, width) here, as everywhere in mmbd; Keras has channels last"
    if _scales_bytes(model):
        yield "the network begins by dividing its inputs, so they are taken to be 0 to 255"


def _name(model: Model) -> str:
    kinds = Counter(
        layer.kind for layer in _everything(model) if layer.inner is None and layer.kind not in IDLE
    )
    most = [f"{count} {clean_text(kind, 40)}" for kind, count in kinds.most_common(4)]
    return f"Keras {model.kind} model ({listed(most)})"


class _Measure(TorchFunctionMode):
    """Adds up what every function makes, and stops before it is too much."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(output, Tensor) and not output._is_view():
            self.numbers += output.numel()
        if self.numbers > MOST_NUMBERS or self.calls > MOST_CALLS:
            raise Failed(
                f"one input would need gigabytes, or minutes, in the Keras model: not loaded. {INPUT}"
            )
        return output


def _measured(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Run one input through: shapes that do not fit and sizes that explode show, before anything is large."""
    try:
        limited(prod(shape), f"the shape {shape}")
        with torch.no_grad(), _Measure():
            module(torch.zeros(1, *shape))
    except Failed as error:
        raise error if INPUT in str(error) else Failed(f"{error}. {INPUT}") from None
    except (Refused, MemoryError):
        raise
    except Exception as error:  # shapes that do not fit raise all kinds of errors
        why = clean_text(f"{type(error).__name__}: {error}", 200)
        raise Failed(f"the Keras model does not take inputs of {shape}: {why}. {INPUT}") from None
