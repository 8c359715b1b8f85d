"""Which operations on the way of the data are gates: what they decide jumps, and no gradient says so.

A comparison is none where both sides of what it decides are functions of the same number and meet where
it changes: a LeakyReLU may be written as a selection. This is tried, not recognised: what the comparison
leads to is computed at its threshold, once where it holds and once where it does not.

An operation without any comparison is a gate where it is as steep as a step (`steepness`). What layers with
large weights do together is not looked at: every network can have those, whatever file it came in.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmbd.formats.steepness import jumps

# Kinds of operations: a x + b for constant a and b, any other function of the numbers at a place, a
# comparison of those, and all else.
AFFINE, PLACEWISE, COMPARISON, OTHER = "affine", "placewise", "comparison", "other"
CLOSE = 1e-5  # of the numbers that meet
MOST = 100  # operations between a value and what is made of it
RUNS = 200_000  # of operations in all, so that no file keeps anybody waiting


@dataclass(frozen=True)
class Operation:
    """An operation with one output.

    Args:
        name: what it is called in sentences.
        inputs: names of what it takes.
        output: the name of what it gives.
        kind: one of the kinds above.
        run: computes it from all values by name.
        twosided: of a comparison, the names of its two sides.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    kind: str
    run: Callable[[Mapping[str, Any]], Any]
    twosided: tuple[str, str] | None = None


class _Unknown(Exception):
    """A value that is no function of the number in question, or cannot be computed."""


class Gates:
    """The operations of a graph, and which of them are gates.

    Args:
        operations: in order.
        constants: values that do not depend on the inputs, by name.
        given: the name of the inputs.
        outputs: names of the outputs.
        shapes: of the values, for one input.
        spread: over how much the numbers of a value are spread for made-up inputs, by name.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        constants: Mapping[str, Any],
        given: str,
        outputs: Sequence[str],
        shapes: Mapping[str, Sequence[int]],
        spread: Mapping[str, float],
    ) -> None:
        self.operations, self.left = operations, RUNS
        self.makers = {each.output: each for each in operations}
        self.place = {each.output: number for number, each in enumerate(operations)}
        self.takers: dict[str, list[Operation]] = {}
        for each in operations:
            for name in dict.fromkeys(each.inputs):
                self.takers.setdefault(name, []).append(each)
        self.constants, self.outputs, self.shapes, self.spread = constants, {*outputs}, shapes, spread
        self.data = {given}
        for each in operations:
            if self.data.intersection(each.inputs):
                self.data.add(each.output)
        self.settled: set[str] = set()
        self.inside: set[str] = set()  # what a comparison makes on the way to where its sides meet
        for each in operations:
            if each.kind == COMPARISON and each.output in self.data and self._meets(each):
                self.settled.add(each.output)

    def steps(self) -> list[str]:
        """Names of the operations that are as steep as a step."""
        with torch.no_grad():
            found = [
                each.name
                for each in self.operations
                if each.kind == PLACEWISE and each.output in self.data - self.inside and self._steep(each)
            ]
        return found if self.left >= 0 else [*found, "more operations than could be looked at"]

    def _data(self, operation: Operation) -> list[str]:
        return [name for name in dict.fromkeys(operation.inputs) if name in self.data]

    def _value(self, name: str, known: dict[str, Any], depth: int = 0) -> Any:
        """A value as a function of those that are known, without comparisons but those that are settled."""
        if name in known:
            return known[name]
        if name not in self.data:
            value = self.constants.get(name)
            if isinstance(value, Tensor) and value.is_floating_point():
                value = value.double()
            known[name] = value
            return value
        operation = self.makers.get(name)
        if operation is None or operation.kind == OTHER or depth > MOST:
            raise _Unknown
        if operation.kind == COMPARISON and name not in self.settled:
            raise _Unknown
        for each in operation.inputs:
            self._value(each, known, depth + 1)
        known[name] = self._run(operation, known)
        return known[name]

    def _run(self, operation: Operation, known: Mapping[str, Any]) -> Any:
        self.left -= 1
        if self.left < 0:
            raise _Unknown
        try:
            return operation.run(known)
        except Exception as error:  # of torch, in a precision or on shapes that it does not take
            raise _Unknown from error

    def _meets(self, comparison: Operation) -> bool:
        """Whether nothing that the comparison decides jumps where it changes."""
        if comparison.twosided is None:
            return False
        chains = [self._affine(side) for side in comparison.twosided if side in self.data]
        with torch.no_grad():
            for name in chains[0]:
                if all(name in chain for chain in chains) and name in self.shapes:
                    try:
                        if self._meets_at(comparison, name):
                            return True
                    except _Unknown:
                        continue
        return False

    def _affine(self, name: str) -> list[str]:
        """The value, and those that it is a x + b of."""
        found = [name]
        while len(found) < MOST:
            made = self.makers.get(found[-1])
            if made is None or made.kind != AFFINE or len(self._data(made)) != 1:
                break
            found += self._data(made)
        return found

    def _meets_at(self, comparison: Operation, name: str) -> bool:
        shape = tuple(self.shapes[name])
        sides = comparison.twosided or ("", "")

        def apart(at: Tensor) -> Tensor:
            known: dict[str, Any] = {name: at}
            one, other = (torch.as_tensor(self._value(side, known)) for side in sides)
            return one.double() - other.double()

        nothing = torch.zeros(shape, dtype=torch.float64)
        start, slope = apart(nothing), apart(nothing + 1) - apart(nothing)
        if start.shape != shape:  # one number decides over several, or several over one
            return False
        moving = slope != 0
        threshold = torch.where(moving, -start / torch.where(moving, slope, 1.0), 0.0)
        scale = start.abs() + slope.abs()
        if not bool((apart(threshold).abs()[moving] <= CLOSE * scale[moving]).all()):
            return False
        holds: dict[str, Any] = {name: threshold, comparison.output: torch.ones(shape, dtype=torch.bool)}
        fails: dict[str, Any] = {name: threshold, comparison.output: torch.zeros(shape, dtype=torch.bool)}
        common: dict[str, Any] = {name: threshold}
        reached, waiting = {comparison.output}, list[int]()
        self._after(comparison.output, waiting)
        while waiting:
            each = self.operations[heapq.heappop(waiting)]
            if each.kind in (OTHER, COMPARISON) or len(reached) > MOST:
                return False
            for other in each.inputs:
                if other not in reached:
                    holds[other] = fails[other] = self._value(other, common)
            one, two = (torch.as_tensor(self._run(each, known)) for known in (holds, fails))
            if one.shape != shape:
                return False
            away = (one.double() - two.double()).abs()
            level = torch.maximum(one.double().abs(), two.double().abs())
            if bool((away[moving] <= CLOSE * level[moving] + 1e-12).all()):
                continue
            holds[each.output], fails[each.output] = one, two
            reached.add(each.output)
            self._after(each.output, waiting)
        self.inside |= reached
        return reached.isdisjoint(self.outputs)

    def _after(self, name: str, waiting: list[int]) -> None:
        """Add the operations that take a value to those that wait, each once."""
        for each in self.takers.get(name, ()):
            if (place := self.place[each.output]) not in waiting:
                heapq.heappush(waiting, place)

    def _sources(self, operation: Operation) -> list[str]:
        """The nearest and the farthest value that the operation is a function of, place by place."""
        open_ = set(self._data(operation))
        found: list[str] = []
        for _ in range(MOST):
            if len(open_) == 1:
                found += open_
            last = max(open_, key=lambda name: self.place.get(name, -1))
            made = self.makers.get(last)
            if made is None or made.kind == OTHER:
                return list(dict.fromkeys([*found[:1], *found[-1:]]))
            open_ = (open_ - {last}) | set(self._data(made))
        self.left = -1  # too long to be followed
        return []

    def _steep(self, operation: Operation) -> bool:
        for name in self._sources(operation):
            spread = self.spread.get(name, 0.0)
            try:
                if name in self.shapes and spread > 0 and self._jumps(operation, name, spread):
                    return True
            except _Unknown:
                continue
        return False

    def _jumps(self, operation: Operation, name: str, spread: float) -> bool:
        shape = self._small(operation, name)

        def value(at: Tensor) -> Tensor:
            known: dict[str, Any] = {name: at}
            found = torch.as_tensor(self._value(operation.output, known)).double()
            if found.dim() > at.dim():
                raise _Unknown
            return found.expand(torch.broadcast_shapes(found.shape, at.shape))

        if shape[0] != 1:  # along the first axis are inputs
            raise _Unknown
        found = jumps(value, shape, spread)
        if found is None:
            raise _Unknown
        return found

    def _small(self, operation: Operation, name: str) -> tuple[int, ...]:
        """The shape of the source, of length 1 along axes on which nothing depends."""
        full = tuple(self.shapes[name])
        needed: set[int] = set()
        seen, waiting = {name}, [operation.output]
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            if each in self.data:
                waiting += self.makers[each].inputs if each in self.makers else []
            elif isinstance(constant := self.constants.get(each), Tensor):
                for back, length in enumerate(reversed(constant.shape), 1):
                    if length > 1 and back <= len(full):
                        needed.add(len(full) - back)
        return tuple(length if axis in needed else 1 for axis, length in enumerate(full))
