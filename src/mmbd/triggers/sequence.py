"""Several triggers, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmbd.triggers.trigger import Trigger


@dataclass(frozen=True)
class TriggerSequence:
    """Several triggers, one after the other."""

    parts: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("no triggers to put together; give at least one")

    def __call__(self, inputs: Tensor) -> Tensor:
        for part in self.parts:
            inputs = part(inputs)
        return inputs
