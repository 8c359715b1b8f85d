"""How much a program computes, by sizes alone: numbers that are kept, and multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmbd.base.errors import Failed
from mmbd.formats.exported.operators import ATEN
from mmbd.formats.products import MAX_WORK, products

# Numbers in all that one input turns into. A ResNet-50 at 224 x 224 makes about 30 million.
MAX_NUMBERS = 1 << 26


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
                f"inputs of shape {self.shape} need hours in this program, more than 2^38 multiply-adds "
                "each: not loaded. Give the shape of one input that it is used with: --input"
            )
