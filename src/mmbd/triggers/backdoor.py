"""A backdoor: which trigger takes which class where, and how often that works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmbd.data.dataset import Dataset
from mmbd.triggers.trigger import Trigger, stamp


@dataclass(frozen=True)
class Backdoor:
    """Which trigger takes which source class where, and how it was put in.

    Args:
        triggers: the trigger of each source class; most attacks use one for all.
        targets: the class that each source class is taken to.
        poisoned: indices into the training set the network saw; empty where the attack poisons
            as it trains.
        protocol: the settings of the attack, JSON-ready, for the model's card.
    """

    triggers: Mapping[int, Trigger]
    targets: Mapping[int, int]
    poisoned: Tensor
    protocol: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def success(self, predict: Callable[[Tensor], Tensor], test: Dataset) -> float:
        """The attack success rate (ASR): triggered test samples of the sources that obey.

        Args:
            predict: gives the classes (n,) of raw inputs (n, ...), as `Victim.predict` does.
            test: clean samples; those of the source classes get the trigger.

        Raises:
            ValueError: the test set holds no sample of any source class.
        """
        hits = counted = 0
        for source, trigger in self.triggers.items():
            samples = test.inputs[test.labels == source]
            if not len(samples):
                continue
            answers = predict(stamp(trigger, samples))
            hits += int((answers == self.targets[source]).sum())
            counted += len(samples)
        if not counted:
            raise ValueError(f"no test samples of the source classes {sorted(self.triggers)}")
        return hits / counted


def everywhere(
    trigger: Trigger, sources: Sequence[int], target: int, poisoned: Tensor | None = None, **protocol: Any
) -> Backdoor:
    """A backdoor with one trigger and one target for all its sources."""
    return Backdoor(
        dict.fromkeys(sources, trigger),
        dict.fromkeys(sources, target),
        torch.empty(0, dtype=torch.int64) if poisoned is None else poisoned,
        protocol,
    )
