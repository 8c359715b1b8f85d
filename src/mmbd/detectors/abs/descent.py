"""Descents for many neurons side by side, by Adam for a fixed number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbd.detectors.abs.neurons import Neuron
from mmbd.search.adam import adam_
from mmbd.search.rows import PoolStats, Rows, keep_full


@dataclass
class Descents(Rows):
    """Descents under way, one a row."""

    values: Tensor
    first: Tensor
    second: Tensor
    step: NDArray[np.int64]
    neuron: NDArray[np.object_]


def descend(
    neurons: Sequence[Neuron],
    start: Callable[[Neuron], Tensor],
    slope: Callable[[Tensor, Sequence[Neuron]], Tensor],
    valid_: Callable[[Tensor], object],
    *,
    steps: int,
    lr: float,
    rows: int,
    each: int,
    progress: Callable[[int], None] = lambda evaluations: None,
) -> tuple[list[Tensor], PoolStats]:
    """Where each neuron's descent ends, in the order of `neurons`.

    Args:
        neurons: one descent each.
        start: the values that a descent starts at.
        slope: the gradients of the losses at values (rows, ...), for the neurons of these rows.
        valid_: makes values (rows, ...) valid in place, after every step.
        steps: of every descent.
        lr: Adam's learning rate.
        rows: the most descents side by side.
        each: gradient evaluations that a step takes in a row.
        progress: called after every step with the gradient evaluations so far.
    """
    ends: dict[Neuron, Tensor] = {}

    def begin(some: Sequence[Neuron]) -> Descents:
        values = torch.stack([start(one) for one in some])
        zero = torch.zeros_like(values)
        objects = np.empty(len(some), dtype=np.object_)
        objects[:] = some
        return Descents(values, zero, zero.clone(), np.zeros(len(some), np.int64), objects)

    def advance(batch: Descents) -> NDArray[np.bool_]:
        gradient = slope(batch.values, batch.neuron.tolist())
        adam_(batch.values, gradient, batch.first, batch.second, batch.step, lr=lr)
        valid_(batch.values)
        batch.step = batch.step + 1
        return batch.step >= steps

    def finished(batch: Descents, row: int) -> None:
        ends[batch.neuron[row]] = batch.values[row].clone()

    if not neurons:
        return [], PoolStats(0, 0, 0)
    with torch.inference_mode(False), torch.enable_grad():
        stats = keep_full(
            neurons,
            begin,
            advance,
            batch=rows,
            jobs=lambda batch: batch.neuron.tolist(),
            finished=finished,
            each=each,
            progress=progress,
        )
    return [ends[one] for one in neurons], stats
