"""How much a program computes, by sizes alone: numbers that are kept, and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.formats.exported.operators import ATEN

# Numbers in all that one input turns into. A ResNet-50 at 224 x 224 makes about 30 million.
MAX_NUMBERS = 1 << 26
# Multiply-adds of one input. A ResNet-50 at 224 x 224 takes 2^32.
MAX_WORK = 1 << 40
BY_SIZES = ("einsum", "tensordot", "bilinear", "outer")


class Budget:
    """Adds up what one pass takes, as the `seen` of `running.run`.

    Args:
        shape: of one input.
        batch: how many inputs the pass is of.
    """

    def __init__(self, shape: Sequence[int], batch: int) -> None:
        self.shape, self.batch = tuple(shape), max(1, batch)
        self.numbers = self.work = 0

    def __call__(self, target: str, given: Mapping[str, Any], output: Any) -> None:
        """Count one operation; Failed where all so far are too many."""
        parts = output if isinstance(output, tuple | list) else [output]
        self.numbers += sum(part.numel() for part in parts if isinstance(part, Tensor)) // self.batch
        if self.numbers > MAX_NUMBERS:
            raise Failed(
                f"inputs of shape {self.shape} need gigabytes in this program: not loaded. Give the "
                "shape of one input that it is used with: --input"
            )
        name = target.removeprefix(ATEN).partition(".")[0]
        self.work += products(name, given, parts) // self.batch
        if self.work > MAX_WORK:
            raise Failed(
                f"inputs of shape {self.shape} need hours in this program, more than 2^40 multiply-adds "
                "each: not loaded. Give the shape of one input that it is used with: --input"
            )


def products(name: str, given: Mapping[str, Any], outputs: Sequence[Any]) -> int:
    """The multiply-adds of an operation, about; 0 for those that take few.

    Args:
        name: of the operation without its overload, such as "conv2d".
        given: its arguments by name.
        outputs: what it gives.
    """
    made = sum(part.numel() for part in outputs if isinstance(part, Tensor))
    tensors = [value for value in given.values() if isinstance(value, Tensor)]
    for value in given.values():
        if isinstance(value, list | tuple):
            tensors += [each for each in value if isinstance(each, Tensor)]
    if len(tensors) < 2:
        return 0
    first, second = tensors[0], tensors[1]
    if name.startswith("conv"):
        each = second.numel() // max(1, second.shape[0])
        over = given.get("transposed") is True or "transpose" in name
        return (first.numel() if over else made) * each
    if name in ("linear", "matmul", "mm", "bmm", "mv", "dot"):
        return made * (first.shape[-1] if first.dim() else 1)
    if name in ("addmm", "baddbmm"):
        return made * (second.shape[-1] if second.dim() else 1)
    if name == "scaled_dot_product_attention":
        return 2 * first.numel() * (second.shape[-2] if second.dim() > 1 else 1)
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        weights = sum(each.numel() for each in tensors if each.dim() == 2)
        return weights * (first.shape[:2].numel() if first.dim() > 2 else 1)
    if name in BY_SIZES:
        sizes = math.prod(each.numel() for each in tensors)
        return math.isqrt(sizes * max(1, made))
    return 0
