"""Recurrent layers, step by step: `SimpleRNN`, `GRU` (both forms) and `LSTM`, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.activations import FUNCTIONS, Function, name_of
from mmbd.formats.keras.layers.making import Making, Row, limited
from mmbd.formats.keras.values import Layer

MOST_STEPS = 4096
MERGES = ("concat", "sum", "ave", "mul")
State = tuple[Tensor, ...]


def _simple(x: Tensor, state: State, weights: Mapping[str, Any]) -> State:
    return (weights["end"](x + torch.mm(state[0], weights["recurrent"])),)


def _lstm(x: Tensor, state: State, weights: Mapping[str, Any]) -> State:
    gate, end = weights["gate"], weights["end"]
    inside, forget, new, out = (x + torch.mm(state[0], weights["recurrent"])).chunk(4, 1)
    cell = gate(forget) * state[1] + gate(inside) * end(new)
    return gate(out) * end(cell), cell


def _gru(x: Tensor, state: State, weights: Mapping[str, Any]) -> State:
    gate, end, recurrent = weights["gate"], weights["end"], weights["recurrent"]
    (before,) = state
    units = before.shape[1]
    update, reset, new = x.chunk(3, 1)
    if weights["after"] is None:  # the older form resets the state before its product
        past = torch.mm(before, recurrent[:, : 2 * units])
        update, reset = gate(update + past[:, :units]), gate(reset + past[:, units:])
        new = end(new + torch.mm(reset * before, recurrent[:, 2 * units :]))
    else:
        past = (torch.mm(before, recurrent) + weights["after"]).chunk(3, 1)
        update, reset = gate(update + past[0]), gate(reset + past[1])
        new = end(new + reset * past[2])
    return (update * before + (1 - update) * new,)


def _run(
    x: Tensor,
    kernel: Tensor,
    recurrent: Tensor,
    bias: Tensor | None,
    after: Tensor | None,
    step: Callable[[Tensor, State, Mapping[str, Any]], State],
    states: int,
    end: Function,
    gate: Function,
    backwards: bool,
    every: bool,
    show: bool,
) -> Any:
    if x.dim() != 3 or x.shape[1] > MOST_STEPS:
        raise Failed(
            f"a recurrent layer takes (steps, features), at most {MOST_STEPS} steps, got {tuple(x.shape[1:])}"
        )
    limited(x.shape[1] * kernel.shape[1], "a recurrent layer")
    given = torch.tensordot(x, kernel, 1)
    given = given if bias is None else given + bias
    weights = {"recurrent": recurrent, "after": after, "end": end, "gate": gate}
    state: State = (x.new_zeros(x.shape[0], recurrent.shape[0]),) * states
    found: list[Tensor] = []
    steps = range(given.shape[1])
    for number in reversed(steps) if backwards else steps:
        state = step(given[:, number], state, weights)
        found.append(state[0])
    output = torch.stack(found, 1) if every else state[0]
    return (output, *state) if show else output


def recurrent(making: Making, kind: str) -> nn.Module:
    """`SimpleRNN`, `GRU` or `LSTM`."""
    settings, weights = making.settings, making.weights.part("cell")
    if settings.values.get("time_major"):
        raise settings.refused("takes the steps before the batch")
    if settings.flag("stateful", False):
        raise settings.refused("keeps its state from one batch to the next")
    units, gates = settings.whole("units"), {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}[kind]
    kernel = weights.take("kernel", (None, gates * units))
    again = weights.take("recurrent_kernel", (units, gates * units))
    twice = kind == "GRU" and settings.flag("reset_after", False)
    bias = after = None
    if settings.flag("use_bias", True):
        bias = weights.take("bias", (2, gates * units) if twice else (gates * units,))
        bias, after = (bias[0], bias[1]) if twice else (bias, None)
    elif twice:
        after = torch.zeros(gates * units)
    names = name_of(settings, "activation", "tanh"), name_of(settings, "recurrent_activation", "sigmoid")
    if not all(name in FUNCTIONS for name in names):
        raise settings.refused(f"has {' and '.join(names)} as its activation functions")
    run = partial(
        _run,
        step={"SimpleRNN": _simple, "GRU": _gru, "LSTM": _lstm}[kind],
        states=2 if kind == "LSTM" else 1,
        end=FUNCTIONS[names[0]],
        gate=FUNCTIONS[names[1]],
        backwards=settings.flag("go_backwards", False),
        every=settings.flag("return_sequences", False),
        show=settings.flag("return_state", False),
    )
    parts = {"kernel": kernel, "recurrent": again, "bias": bias, "after": after}
    return Layer(run, "kept", parts)


class _Both(nn.Module):
    """A layer in both directions."""

    layout = "kept"

    def __init__(self, forwards: nn.Module, backwards: nn.Module, merge: str, every: bool) -> None:
        super().__init__()
        self.forwards, self.backwards, self.merge, self.every = forwards, backwards, merge, every

    def forward(self, x: Tensor, moved: bool = False) -> Tensor:
        one, other = self.forwards(x), self.backwards(x)
        if self.every:
            other = other.flip(1)
        if self.merge == "concat":
            return torch.cat([one, other], -1)
        if self.merge == "mul":
            return one * other
        return (one + other) / (2 if self.merge == "ave" else 1)


def bidirectional(making: Making) -> nn.Module:
    """`Bidirectional`: two recurrent layers, one from each end, whose outputs are joined."""
    settings, weights = making.settings, making.weights
    entry = settings.values.get("layer")
    held = entry.get("config") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(held, Mapping):
        raise settings.failed("holds no layer")
    if entry.get("class_name") not in ("SimpleRNN", "GRU", "LSTM") or held.get("return_state"):
        raise settings.refused("runs something else than SimpleRNN, GRU or LSTM in both directions")
    back = settings.values.get("backward_layer")
    if not isinstance(back, Mapping):
        turned = {**held, "go_backwards": not held.get("go_backwards", False)}
        back = {**entry, "config": turned}
    forwards = making.inner(entry, weights.part("forward_layer"))
    backwards = making.inner(back, weights.part("backward_layer"))
    merge = settings.word("merge_mode", MERGES, "concat")
    return _Both(forwards, backwards, merge, bool(held.get("return_sequences", False)))


ROWS: dict[str, Row] = {
    **{kind: partial(recurrent, kind=kind) for kind in ("SimpleRNN", "GRU", "LSTM")},
    "Bidirectional": bidirectional,
}
