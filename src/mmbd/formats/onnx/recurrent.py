"""RNN, GRU and LSTM, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbd.formats.onnx.node import HUGE, Node, Sizes, listing

Function = Callable[[Tensor], Tensor]
FUNCTIONS: dict[str, Function] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": F.softsign,
    "softplus": F.softplus,
}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


class _Layer:
    """What the three have in common: directions, activations, the order of axes and the clip."""

    def __init__(self, node: Node, x: Tensor, recurrence: Tensor, lengths: Sizes | None) -> None:
        self.node = node
        way = node.text("direction", "forward", "forward", "reverse", "bidirectional")
        self.backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[way]
        self.by_batch = node.flag("layout")
        node.ignore("output_sequence")
        self.clip = node.number("clip", 0.0) if node.has("clip") else None
        if node.has("activation_alpha") or node.has("activation_beta"):
            raise node.failed("activations with numbers of their own, which mmbd does not compute")
        names = node.texts("activations") or USUAL[node.op] * len(self.backwards)
        each = len(USUAL[node.op])
        unknown = [name for name in names if name.lower() not in FUNCTIONS]
        if unknown or len(names) != each * len(self.backwards):
            raise node.failed(f"activations {names}, which mmbd does not compute")
        found = [FUNCTIONS[name.lower()] for name in names]
        self.functions = [found[:each], found[each:]]
        self.x = x.transpose(0, 1) if self.by_batch else x
        self.width = node.integer("hidden_size", int(recurrence.shape[-1]), 1, HUGE)
        if recurrence.shape[0] != len(self.backwards) or self.width != recurrence.shape[-1]:
            raise node.failed(f"weights of shape {tuple(recurrence.shape)} for {way}, {self.width}")
        steps = int(self.x.shape[0])
        if lengths is not None and any(each != steps for each in listing(lengths)):
            raise node.failed("sequences of other lengths than its input, which mmbd does not compute")

    def start(self, given: Tensor | None, way: int) -> Tensor:
        """The first state of a direction."""
        if given is None:
            return self.x.new_zeros(self.x.shape[1], self.width)
        return given[:, way] if self.by_batch else given[way]

    def bounded(self, x: Tensor) -> Tensor:
        """What goes into an activation."""
        return x if self.clip is None else torch.clamp(x, -self.clip, self.clip)

    def along(self, way: int, step: Callable[[Tensor, Any], Any], state: Any) -> tuple[Tensor, Any]:
        """All outputs of a direction (steps, n, width), and its last state."""
        order = list(self.x.unbind(0))
        outputs: list[Tensor] = []
        for x in reversed(order) if self.backwards[way] else order:
            state = step(x, state)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if self.backwards[way] else outputs), state

    def joined(self, found: list[tuple[Tensor, Any]]) -> tuple[Tensor, ...]:
        """All outputs, and the last states, as ONNX has them."""
        y = torch.stack([outputs for outputs, _ in found], 1)
        last = [torch.stack(each) for each in zip(*(state for _, state in found), strict=True)]
        if self.by_batch:
            y = y.permute(2, 0, 1, 3)
            last = [each.transpose(0, 1) for each in last]
        return (y, *last)

    def whole(self, weight: Tensor, bias: Tensor | None, gates: int, states: list[Tensor | None]) -> bool:
        """Whether torch's own layer computes this; it leaves sizes to the caller, and they are checked."""
        ways, width = len(self.backwards), self.width
        names = self.node.texts("activations") or USUAL[self.node.op] * ways
        plain = [name.lower() for name in names] == [name.lower() for name in USUAL[self.node.op] * ways]
        tensors = [self.x, weight, *(each for each in (bias, *states) if each is not None)]
        return (
            plain
            and self.clip is None
            and self.backwards != [True]
            and self.x.dim() == 3
            and tuple(weight.shape) == (ways, gates * width, self.x.shape[2])
            and (bias is None or tuple(bias.shape) == (ways, 2 * gates * width))
            and all(each is None or each.dim() == 3 for each in states)
            and len({each.dtype for each in tensors}) == 1
            and self.x.shape[0] > 0
        )

    def parts(
        self, weight: Tensor, recurrence: Tensor, bias: Tensor | None, order: tuple[int, ...]
    ) -> list[Tensor]:
        """The weights as torch's own layers take them, with their gates in torch's order."""
        found: list[Tensor] = []
        for way in range(len(self.backwards)):
            mine = [weight[way], recurrence[way]]
            mine += [] if bias is None else list(bias[way].chunk(2))
            found += [torch.cat([each.chunk(len(order))[gate] for gate in order]) for each in mine]
        return found

    def first(self, given: Tensor | None) -> Tensor:
        """The first states of all directions (directions, n, width), of exactly this size."""
        found = torch.stack([self.start(given, way) for way in range(len(self.backwards))])
        return found.expand(len(self.backwards), self.x.shape[1], self.width).contiguous()

    def given_out(self, outputs: Tensor, *last: Tensor) -> tuple[Tensor, ...]:
        """What torch's own layers give, as ONNX has it."""
        y = outputs.unflatten(2, (len(self.backwards), self.width)).transpose(1, 2)
        if self.by_batch:
            return (y.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in last))
        return (y, *last)


def _biases(bias: Tensor | None, way: int, gates: int, width: int) -> tuple[Tensor | None, Tensor | None]:
    if bias is None:
        return None, None
    return bias[way, : gates * width], bias[way, gates * width :]


def rnn(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Sizes | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """H = f(W x + R h + b)."""
    layer = _Layer(node, x, recurrence, lengths)
    found: list[tuple[Tensor, Any]] = []
    for way in range(len(layer.backwards)):
        w, r, (function,) = weight[way], recurrence[way], layer.functions[way]
        wb, rb = _biases(bias, way, 1, layer.width)

        def step(
            x: Tensor, state: Any, w: Any = w, r: Any = r, wb: Any = wb, rb: Any = rb, f: Any = function
        ):
            return (f(layer.bounded(F.linear(x, w, wb) + F.linear(state[0], r, rb))),)

        found.append(layer.along(way, step, (layer.start(hidden, way),)))
    return layer.joined(found)


def gru(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Sizes | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Update, reset and hidden gates, in this order."""
    after = node.flag("linear_before_reset")
    layer = _Layer(node, x, recurrence, lengths)
    width = layer.width
    if after and layer.whole(weight, bias, 3, [hidden]):
        weights, ways = layer.parts(weight, recurrence, bias, (1, 0, 2)), len(layer.backwards) > 1
        start = layer.first(hidden)
        return layer.given_out(
            *torch.gru(layer.x, start, weights, bias is not None, 1, 0.0, False, ways, False)
        )
    found: list[tuple[Tensor, Any]] = []
    for way in range(len(layer.backwards)):
        w, r = weight[way], recurrence[way]
        wb, rb = _biases(bias, way, 3, width)
        f, g = layer.functions[way]

        def step(
            x: Tensor, state: Any, w: Any = w, r: Any = r, wb: Any = wb, rb: Any = rb, f: Any = f, g: Any = g
        ):
            h = state[0]
            mine = F.linear(x, w, wb)
            both = F.linear(h, r[: 2 * width], None if rb is None else rb[: 2 * width])
            gates = f(layer.bounded(mine[:, : 2 * width] + both))
            z, reset = gates[:, :width], gates[:, width:]
            last = None if rb is None else rb[2 * width :]
            r_h = r[2 * width :]
            inner = reset * F.linear(h, r_h, last) if after else F.linear(reset * h, r_h, last)
            new = g(layer.bounded(mine[:, 2 * width :] + inner))
            return ((1 - z) * new + z * h,)

        found.append(layer.along(way, step, (layer.start(hidden, way),)))
    return layer.joined(found)


def lstm(
    node: Node,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Sizes | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Input, output, forget and cell gates, in this order."""
    if node.flag("input_forget"):
        raise node.failed("input_forget, which mmbd does not compute")
    layer = _Layer(node, x, recurrence, lengths)
    if peepholes is None and layer.whole(weight, bias, 4, [hidden, cell]):
        weights, ways = layer.parts(weight, recurrence, bias, (0, 2, 3, 1)), len(layer.backwards) > 1
        start = [layer.first(hidden), layer.first(cell)]
        return layer.given_out(
            *torch.lstm(layer.x, start, weights, bias is not None, 1, 0.0, False, ways, False)
        )
    found: list[tuple[Tensor, Any]] = []
    for way in range(len(layer.backwards)):
        w, r = weight[way], recurrence[way]
        wb, rb = _biases(bias, way, 4, layer.width)
        f, g, h = layer.functions[way]
        p: Any = (0.0, 0.0, 0.0) if peepholes is None else peepholes[way].chunk(3)

        def step(
            x: Tensor,
            state: Any,
            w: Any = w,
            r: Any = r,
            wb: Any = wb,
            rb: Any = rb,
            f: Any = f,
            g: Any = g,
            h: Any = h,
            p: Any = p,
        ):
            old = state[1]
            i, o, forget, c = (F.linear(x, w, wb) + F.linear(state[0], r, rb)).chunk(4, 1)
            i = f(layer.bounded(i + p[0] * old))
            forget = f(layer.bounded(forget + p[2] * old))
            new = forget * old + i * g(layer.bounded(c))
            return f(layer.bounded(o + p[1] * new)) * h(new), new

        found.append(layer.along(way, step, (layer.start(hidden, way), layer.start(cell, way))))
    return layer.joined(found)
