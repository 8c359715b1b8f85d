"""`TimeDistributed`: one layer at every step."""

from __future__ import annotations

from torch import Tensor, nn

from mmbd.base.errors import Failed
from mmbd.formats.keras.layers.making import Making, Row
from mmbd.formats.keras.values import Value, applied


class _Each(nn.Module):
    layout = "kept"

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, moved: bool = False) -> Tensor:
        if x.dim() < 3:
            raise Failed(f"a TimeDistributed layer takes (steps, ...), got {tuple(x.shape[1:])}")
        (found,) = applied(self.layer, (Value(x.flatten(0, 1)),))
        return found.arranged(False).unflatten(0, x.shape[:2])


def time_distributed(making: Making) -> nn.Module:
    """`TimeDistributed`: the batch and the steps count as one."""
    entry = making.settings.values.get("layer")
    return _Each(making.inner(entry, making.weights.part("layer")))


ROWS: dict[str, Row] = {"TimeDistributed": time_distributed}
