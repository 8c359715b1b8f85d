"""Adam for many searches side by side, each of which has taken a number of steps of its own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EPSILON = 1e-8


def adam_(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: NDArray[np.int64],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
) -> None:
    """One step of Adam (Kingma and Ba 2015) in every row, in place.

    Args:
        values: (rows, ...) what is minimised over.
        gradient: at `values`.
        first: the running mean of the gradient, zero at the start.
        second: the running mean of its square, zero at the start.
        step: (rows,) the steps that each row has taken before, from 0.
        lr: the learning rate.
        betas: the shares of the running means that are kept.
    """
    one, two = betas
    first.lerp_(gradient, 1 - one)
    second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
    count = step + 1
    size = torch.from_numpy((lr / (1 - one**count)).astype(np.float32))
    scale = torch.from_numpy(np.sqrt(1 - two**count).astype(np.float32))
    axes = (-1, *[1] * (values.dim() - 1))
    size, scale = size.to(values.device).view(axes), scale.to(values.device).view(axes)
    values.addcdiv_(first * size, second.sqrt().div_(scale).add_(EPSILON), value=-1)
