"""What stands between raw inputs and a network, and both of them as one module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmbd.model.domain import Bound, broadcastable
from mmbd.model.logits import Reading


class Normalisation(nn.Module):
    """(x - mean) / std for raw inputs (batch, *shape); x itself where neither is given.

    Args:
        mean, std: numbers, one value a channel, or tensors that broadcast to `shape`.
        shape: of one input.

    Raises:
        ValueError: values that do not broadcast or are not finite, or a `std` that is not positive.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, mean: Bound | None, std: Bound | None, shape: tuple[int, ...]) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, None if value is None else broadcastable(value, shape, name))
        if self.std is not None and not torch.all(self.std > 0):
            raise ValueError(f"std must be positive, got {std}")

    def forward(self, inputs: Tensor) -> Tensor:
        if self.mean is not None:
            inputs = inputs - self.mean
        if self.std is not None:
            inputs = inputs / self.std
        return inputs


class Normalised(nn.Module):
    """A network with its normalisation before it: raw inputs in, float32 logits out; can be traced.

    Args:
        network: in whatever mode; may work in place, on its own copy of the inputs.
        normalise: stands between the raw inputs and the network.
        dtype: what the network computes in.
        reading: where the logits are in what it returns.
    """

    def __init__(
        self,
        network: nn.Module,
        normalise: Callable[[Tensor], Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        reading: Reading | None = None,
    ) -> None:
        super().__init__()
        self.network, self.normalise = network, normalise
        self.dtype, self.reading = dtype, reading or Reading()

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.normalise(inputs)
        if values is inputs:
            values = values.clone()
        if self.dtype != torch.float32:
            values = values.to(self.dtype)
        output = self.reading.logits(self.network(values))
        return output if self.dtype == torch.float32 else output.float()
