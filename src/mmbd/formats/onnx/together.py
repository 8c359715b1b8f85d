"""Whether a graph computes for several inputs together what it computes for each of them alone.

A file can look at how many inputs come together, and be harmless to whoever tries many. Its answers on
noise need not show it, so every node is tried by itself on noise of its own, too, and what comes from the
number of inputs may only be used as a length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.formats.onnx.lengths import LENGTHS
from mmbd.formats.onnx.network import Network
from mmbd.formats.onnx.node import Node, Sizes, Value
from mmbd.formats.onnx.step import Step

CLOSE = 1e-4  # of a tensor's largest number
ROUNDING = 1e-6  # of the largest number that a node takes
# How a value depends on the number of inputs: not at all; by sums and products; in any other way, as one
# that is another for a batch of one only.
FREE, PLAIN, TWISTED = range(3)
MOVED = {"Gather", "Concat", "Squeeze", "Unsqueeze", "Slice", "Reshape", "Identity", "Cast"}
# With a tensor of as many rows as there are inputs, these give rows that do not depend on their number.
ROW_BY_ROW = {*MOVED, "Expand", "Transpose", "Tile", "Add", "Sub", "Mul", "Div", "Shape", "Size", "Flatten"}
SHAPED = {"Reshape", "Expand", "ConstantOfShape", "Tile"}  # keep all that they are given, in any shape


class Apart(Exception):
    """A node whose outputs depend on how many inputs come together."""

    def __init__(self, node: Node) -> None:
        super().__init__(str(node))
        self.node = node


@dataclass(frozen=True)
class _Lanes:
    """A value for all inputs together and for each alone.

    `data` says whether numbers of the inputs are in it; else `levels` has how each of its numbers depends
    on the number of inputs. Inputs lie one after the other along an axis, or `fastest`: in turns.
    """

    together: Value
    alone: tuple[Value, ...]
    data: bool
    levels: Sizes | None = None
    fastest: bool = False

    @property
    def level(self) -> int:
        return 0 if self.levels is None or not self.levels.size else int(self.levels.max())

    @property
    def longer(self) -> bool:
        return tuple(self.together.shape) != tuple(self.alone[0].shape)


def check(network: Network, points: Tensor) -> None:
    """Raises Apart for the first node that gives another thing for these inputs together than alone.

    Args:
        network: the graph.
        points: inputs (n, *shape) as it takes them, of a small prime n.

    Raises:
        Apart: as above; any other error is of a graph that does not take so many inputs.
    """
    given = _Lanes(points, tuple(points.split(1)), True)
    with torch.no_grad():
        network.follow(given, _Check(len(points)))  # pyright: ignore[reportArgumentType]


class _Check:
    """Computes every node for all inputs together and for each alone, and compares."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.generator = generator_for("every node of an ONNX graph")

    def __call__(self, step: Step, given: Sequence[Any]) -> Any:
        lanes = [each for each in given if isinstance(each, _Lanes)]
        together = _all(step(*[_pick(each, None) for each in given]))
        if not any(each.data for each in lanes):
            alone = [_all(step(*[_pick(each, 0) for each in given]))] * self.count
        else:
            alone = [_all(step(*[_pick(each, lane) for each in given])) for lane in range(self.count)]
        data = step.node.op not in ("Shape", "Size", "EyeLike") and any(each.data for each in lanes)
        found = [
            _Lanes(value, tuple(lane[place] for lane in alone), data) for place, value in enumerate(together)
        ]
        if data:
            self._joined(step, given)
            first = self._same(step.node, given, found)
            turns = self._on_noise(step, given) or first
            found = [replace(each, fastest=turn) for each, turn in zip(found, turns, strict=True)]
        else:
            found = [self._with_levels(step, given, each) for each in found]
        return tuple(found) if len(found) > 1 else found[0]

    def _joined(self, step: Step, given: Sequence[Any]) -> None:
        """Numbers that depend on how many inputs there are may only be lengths where data are."""
        op = step.node.op
        for place, each in enumerate(given):
            if not isinstance(each, _Lanes) or each.data:
                continue
            if place in step.sizes:
                if each.level == TWISTED and op not in SHAPED:
                    raise Apart(step.node)
            elif each.level != FREE:
                raise Apart(step.node)

    def _with_levels(self, step: Step, given: Sequence[Any], found: _Lanes) -> _Lanes:
        node, lanes = step.node, [each for each in given if isinstance(each, _Lanes)]
        shape = tuple(found.together.shape)
        if node.op in ("Shape", "Size"):
            one, all_ = (np.asarray(_plain(each)) for each in (found.alone[0], found.together))
            if one.shape != all_.shape:
                raise Apart(node)
            levels = np.where(one != all_, PLAIN, FREE)
            if any(each.level for each in lanes) and not any(each.longer for each in lanes):
                levels = np.where(levels == FREE, FREE, TWISTED)
            return _Lanes(found.together, found.alone, False, levels.astype(object))
        if node.op in MOVED and node.op in LENGTHS and not found.longer:
            moved = self._moved(step, given)
            if moved is not None and moved.shape == shape:
                return _Lanes(found.together, found.alone, False, moved)
        content = [each for place, each in enumerate(given) if place not in step.sizes]
        level = max((each.level for each in content if isinstance(each, _Lanes)), default=FREE)
        by_size = max(
            (each.level for p, each in enumerate(given) if p in step.sizes and isinstance(each, _Lanes)),
            default=FREE,
        )
        if node.op not in SHAPED:  # of a Range, the numbers come from what it takes
            level = max(level, TWISTED if by_size else FREE)
        if level and node.op not in ROW_BY_ROW - {"Div"}:
            level = TWISTED
        if any(each.longer for each in lanes) and node.op not in ROW_BY_ROW:
            level = TWISTED  # a sum over rows is their number
        levels = np.full(shape, level, dtype=object)
        return _Lanes(found.together, found.alone, False, levels)

    def _moved(self, step: Step, given: Sequence[Any]) -> Sizes | None:
        """What only moves numbers moves their levels with them."""
        levels: list[Sizes | None] = []
        for place, each in enumerate(given):
            index = place > 0 and step.node.op != "Concat"
            if isinstance(each, _Lanes):
                if index and each.level:
                    return None
                levels.append(_sizes(each.together) if index else each.levels)
            elif each is None:
                levels.append(None)
            else:
                known = step.fixed.get(place)
                if index and known is None:
                    return None
                levels.append(known if index else np.full(tuple(each.shape), FREE, dtype=object))
        try:
            return LENGTHS[step.node.op](step.node, *levels)
        except Exception:  # what lengths are not written in; all of its numbers have one level then
            return None

    def _same(self, node: Node, given: Sequence[Any], found: Sequence[_Lanes]) -> list[bool]:
        taken = [each.together for each in given if isinstance(each, _Lanes)]
        taken = [each for each in taken if isinstance(each, Tensor) and each.dtype.is_floating_point]
        slack = ROUNDING * max((_largest(each) for each in taken), default=0.0)
        return [
            self._compare(
                node,
                each.together,
                each.alone,
                slack,
                isinstance(each.together, Tensor) and each.together.dtype.is_floating_point,
            )
            for each in found
        ]

    def _compare(
        self, node: Node, together: Value, alone: Sequence[Value], slack: float, numbers: bool = True
    ) -> bool:
        """Whether the inputs lie in turns along their axis."""
        single = [each for each in alone if isinstance(each, Tensor)]
        if not isinstance(together, Tensor) or len(single) < len(alone):
            return False
        axis = self._axis(together.shape, single[0].shape)
        if axis is None:
            if together.numel() or single[0].numel():
                raise Apart(node)
            return False
        if not numbers:
            return False
        one = together.float()
        for fastest in (False, True):
            other = _put(single, axis, fastest).float()
            difference = _largest(one.nan_to_num() - other.nan_to_num())
            if difference <= CLOSE * _largest(other) + slack + 1e-30:
                return fastest
        raise Apart(node)

    def _on_noise(self, step: Step, given: Sequence[Any]) -> list[bool] | None:
        """The node by itself, on noise in place of its data."""
        noise: list[Any] = []
        drawn = False
        for each in given:
            data = isinstance(each, _Lanes) and each.data and isinstance(each.together, Tensor)
            axis = self._axis(each.together.shape, each.alone[0].shape) if data else None
            if axis is None or not each.together.dtype.is_floating_point:
                noise.append(each)
                continue
            made = torch.randn(each.together.shape, generator=self.generator)
            parts = made.chunk(self.count, axis)
            if each.fastest:
                parts = made.unflatten(axis, (-1, self.count)).unbind(axis + 1)
            noise.append(_Lanes(made, parts, True, None, each.fastest))
            drawn = True
        if not drawn:
            return None
        together = _all(step(*[_pick(each, None) for each in noise]))
        alone = [_all(step(*[_pick(each, lane) for each in noise])) for lane in range(self.count)]
        return [
            self._compare(step.node, value, [lane[place] for lane in alone], 1e-5)
            for place, value in enumerate(together)
        ]

    def _axis(self, together: Sequence[int], alone: Sequence[int]) -> int | None:
        """The only axis that is as many times longer as there are inputs; all others are as they are."""
        if len(together) != len(alone):
            return None
        differ = [axis for axis, pair in enumerate(zip(together, alone, strict=True)) if pair[0] != pair[1]]
        if len(differ) != 1 or together[differ[0]] != self.count * alone[differ[0]]:
            return None
        return differ[0]


def _put(parts: Sequence[Tensor], axis: int, fastest: bool) -> Tensor:
    """Parts one after the other along an axis, or in turns."""
    if not fastest:
        return torch.cat(list(parts), axis)
    return torch.stack(list(parts), axis + 1).flatten(axis, axis + 1)


def _pick(value: Any, lane: int | None) -> Any:
    if not isinstance(value, _Lanes):
        return value
    return value.together if lane is None else value.alone[lane]


def _all(found: Any) -> tuple[Value, ...]:
    return found if isinstance(found, tuple) else (found,)


def _plain(value: Value) -> Any:
    return value.tolist()


def _sizes(value: Value) -> Sizes:
    return np.asarray(_plain(value), dtype=object)


def _largest(value: Tensor) -> float:
    """The largest size of a finite number."""
    finite = value.detach().double().nan_to_num(0.0, 0.0, 0.0)
    return float(finite.abs().max()) if finite.numel() else 0.0
