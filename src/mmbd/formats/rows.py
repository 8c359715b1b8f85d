"""Batches of any size for a network whose file has the size of one written into it.

Whether rows together give what they give alone is tried on three random ones. Where they do not, the network
sees one row at a time, or as many as it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.base.seeds import generator_for
from mmbd.base.text import clean_text

ROWS = 3
CLOSE = 1e-4  # of the largest answer


def any_batch(module: nn.Module, shape: Sequence[int], batch: int | None = None) -> tuple[nn.Module, str]:
    """The module for batches of any size or of one, and a note on what had to be done, "" for nothing.

    Args:
        module: takes batches (n, *shape), perhaps of one size alone.
        shape: of one input.
        batch: the size that the file says; None where it leaves that open.

    Raises:
        Failed: it takes neither three inputs together nor as many as the file says.
    """
    rows = torch.rand(ROWS, *shape, generator=generator_for("rows", 0))
    least = batch or 1
    with torch.no_grad():
        alone, error = _try(lambda: _joined([_padded(module, row[None], least) for row in rows]))
        if alone is None:
            raise Failed(
                f"the network does not take an input of shape {tuple(shape)}: "
                f"{clean_text(str(error).partition(chr(10))[0], 300)}. See that --input is right"
            )
        together, _ = _try(lambda: module(rows))
        if _alike(together, alone):
            return module, ""
    if least == 1:  # whoever watches its operations sees one input at a time then, too
        return Single(module), "the file has a batch of one written into it: inputs are taken in turn"
    return OneByOne(module, least), (
        f"the file has a batch of {least} written into it: inputs are taken in turn"
    )


class Single(nn.Module):
    """A network for one input at a time, which takes no more."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Any:
        if len(inputs) != 1:
            raise RuntimeError(f"{len(inputs)} inputs for a network that takes one at a time")
        return self.module(inputs)


class OneByOne(nn.Module):
    """A network for batches of one size, given so many rows at a time, the last ones padded with zeros."""

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.module, self.size = module, size

    def forward(self, inputs: Tensor) -> Any:
        return _joined([_padded(self.module, part, self.size) for part in inputs.split(self.size)])


def _padded(module: nn.Module, rows: Tensor, size: int) -> Any:
    count = len(rows)
    if count < size:
        rows = torch.cat([rows, rows.new_zeros(size - count, *rows.shape[1:])])
    return _each(module(rows), lambda part: part[:count])


def _each(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(outputs, Tensor):
        return change(outputs)
    return tuple(_each(part, change) for part in outputs)


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return tuple(_joined(some) for some in zip(*parts, strict=True))


def _try(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except MemoryError:
        raise
    except Exception as error:  # a network of whoever wrote the file
        return None, error


def _alike(one: Any, other: Any) -> bool:
    """Whether two outputs are equal within rounding."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape:
            return False
        scale = float(other.nan_to_num(0.0, 0.0, 0.0).abs().max()) if other.numel() else 1.0
        return torch.allclose(
            one.float(), other.float(), rtol=0.0, atol=CLOSE * max(scale, 1e-6), equal_nan=True
        )
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        return all(_alike(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    return False
