"""Functions of Keras that were called on tensors in a model, such as `x + 1.0`: no layers, no weights."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmbd.base.errors import Refused
from mmbd.base.text import clean_text
from mmbd.formats.keras.inbound import Call, Ref
from mmbd.formats.keras.layers.activations import FUNCTIONS, along_channels
from mmbd.formats.keras.layers.making import spread
from mmbd.formats.keras.values import Layer

ONNX = "Export it to ONNX and scan that"

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Subtract": operator.sub,
    "Multiply": operator.mul,
    "Divide": operator.truediv,
    "TrueDivide": operator.truediv,
}
UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Negative": torch.neg,
    "Square": torch.square,
    "Sqrt": torch.sqrt,
    "Absolute": torch.abs,
    "Exp": torch.exp,
    "Relu": functional.relu,
    "Relu6": functional.relu6,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Silu": functional.silu,
    "Softplus": functional.softplus,
    "HardSigmoid": functional.hardsigmoid,
    "HardSilu": functional.hardswish,
    "Elu": functional.elu,
}
# What Keras 2 writes for functions of TensorFlow that were called on tensors.
OLDER = {
    "math.add": "Add",
    "__operators__.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "Divide",
    "math.divide": "Divide",
    "math.square": "Square",
    "math.sqrt": "Sqrt",
    "math.negative": "Negative",
    "math.abs": "Absolute",
    "math.exp": "Exp",
    "math.tanh": "Tanh",
    "math.sigmoid": "Sigmoid",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.silu": "Silu",
}
ENDS_AS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}  # operations that logits may go through at the end
OPERATIONS: dict[str, str] = {
    **{name: name for name in (*BINARY, *UNARY, "Softmax")},
    **{f"TFOpLambda {function}": name for function, name in OLDER.items()},
}


def _on_two(
    *inputs: Tensor, run: Callable[[Any, Any], Any], slots: Sequence[float | None], moved: bool
) -> Tensor:
    left = list(inputs)
    one, other = (left.pop(0) if slot is None else slot for slot in slots)
    spread(*inputs)
    return run(one, other)


def _on_one(x: Tensor, run: Callable[[Tensor], Tensor], moved: bool) -> Tensor:
    return run(x)


def operation(kind: str, call: Call, bare: bool) -> tuple[nn.Module, tuple[Ref, ...]]:
    """An operation by its name in OPERATIONS, as a layer of the tensors that it is called on, and those.

    Args:
        kind: its name.
        call: its arguments, tensors and numbers.
        bare: leave it out where it is the end of the network, which the logits do not go through.

    Raises:
        Refused: arguments that are not known.
    """
    name, refs = OPERATIONS[kind], tuple(call.refs())
    given = [
        *call.args,
        *(value for key, value in call.kwargs.items() if key != "name" and value is not None),
    ]
    if name in BINARY and len(given) == 2 and refs:
        slots = [None if isinstance(each, Ref) else each for each in given]
        if all(slot is None or type(slot) in (int, float) for slot in slots):
            return Layer(partial(_on_two, run=BINARY[name], slots=slots)), refs
    if name in UNARY and len(given) == 1 == len(refs):
        run = FUNCTIONS["linear"] if bare and name == "Sigmoid" else UNARY[name]
        return Layer(partial(_on_one, run=run)), refs
    if name == "Softmax" and len(refs) == 1 and given[1:] in ([], [-1]):
        run = partial(along_channels, name="linear" if bare else "softmax")
        return Layer(run), refs
    raise Refused(f"the Keras model calls {clean_text(kind)} with arguments that mmbd does not know. {ONNX}")


def function_of(values: Mapping[str, Any], kind: str) -> str:
    """The name in OPERATIONS of what an entry calls."""
    return f"TFOpLambda {values.get('function')}" if kind == "TFOpLambda" else kind
