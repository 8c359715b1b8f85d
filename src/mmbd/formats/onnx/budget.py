"""A first pass through a graph: every node within a budget, before its numbers are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmbd.base.errors import Failed, NotEvaluable, Refused
from mmbd.base.text import clean_text
from mmbd.formats.onnx.node import Value
from mmbd.formats.onnx.operators import operator
from mmbd.formats.onnx.step import Step
from mmbd.formats.products import MAX_WORK, products

EACH = 1 << 26  # numbers in one tensor
ALL = 1 << 29  # numbers in all of a pass of one input


class _Counting(TorchFunctionMode):
    """Counts the numbers that tensors would take, and the work in them; ends where it is too much."""

    def __init__(self, left: int, work: int) -> None:
        super().__init__()
        self.left, self.work = left, work
        self.seen: dict[int, Any] = {}  # storages, kept so that none takes another's place

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        outputs = found if isinstance(found, tuple | list) else (found,)
        name = str(getattr(func, "__name__", ""))
        self.work += products(name, {**dict(enumerate(args)), **(kwargs or {})}, outputs)
        if self.work > MAX_WORK:
            raise Failed("it needs hours")
        for tensor in outputs:
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self.take(tensor)
        return found

    def take(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self.seen:  # pyright: ignore[reportPrivateUsage]
            return
        self.seen[storage._cdata] = storage  # pyright: ignore[reportPrivateUsage]
        count = storage.nbytes() // tensor.element_size()
        self.left -= count
        if count > EACH or self.left < 0:
            raise Failed("it needs gigabytes")


class Budget:
    """What one pass may take, as something to call nodes with.

    Every node first runs on tensors without numbers (the meta device), which tells the sizes of all that
    it would make. Its error names it.
    """

    def __init__(self, most: int = ALL) -> None:
        self.left, self.work = most, 0

    def __call__(self, step: Step, given: Sequence[Value | None]) -> Any:
        """The outputs of a node.

        Raises:
            Failed: more numbers than are left, hours of work, inputs that do not fit it, attributes that it
                lacks.
        """
        node = step.node
        try:
            self._checked(step, given)
            self._measure(step, given)
            found = step(*given)
            ignored = sorted(set(node.attributes) - node.asked)
            if ignored:
                names = ", ".join(clean_text(name, 40) for name in ignored[:5])
                raise node.failed(f"attributes that version {node.opset} does not have: {names}")
        except (Refused, NotEvaluable):
            raise
        except Failed as error:
            said = str(error)
            raise (error if said.startswith(str(node)) else node.failed(said)) from None
        except Exception as error:  # of torch, on inputs of any kind
            raise node.failed(clean_text(f"{type(error).__name__}: {error}", 200)) from None
        return found

    def _checked(self, step: Step, given: Sequence[Value | None]) -> None:
        least, most = operator(step.node.op).counts
        count = len(given)
        missing = any(value is None for value in given[:least])
        if count < least or missing or (most is not None and count > most):
            raise step.node.failed(
                f"{count} inputs, expected {least}" + (f" to {most}" if most else " or more")
            )

    def _measure(self, step: Step, given: Sequence[Value | None]) -> None:
        arguments = step.arguments(given)
        metas = [value.to("meta") if isinstance(value, Tensor) else value for value in arguments]
        counting = _Counting(self.left, self.work)
        for value in metas:
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                counting.seen[storage._cdata] = storage  # pyright: ignore[reportPrivateUsage]
        try:
            with torch.no_grad(), torch.device("meta"), counting:
                found = step.run(step.node, *metas)
        except Failed:
            raise
        except (NotImplementedError, RuntimeError) as error:
            if isinstance(error, NotImplementedError) or "meta" in str(error):
                return  # it looks at numbers; what it makes is no larger than its inputs
            raise
        for tensor in found if isinstance(found, tuple) else (found,):
            if isinstance(tensor, Tensor) and tensor.is_meta and tensor.numel() > EACH:
                raise Failed("it needs gigabytes")
        self.left, self.work = counting.left, counting.work
