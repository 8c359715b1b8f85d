"""What every attack is: it gets a victim, trains it, and says what the backdoor then is.

    attack(victim, sources=(1,), target=0, **options) -> Backdoor

The network is trained in place. An attack that only poisons the training set is `classic`; one
that works while the network trains passes hooks to `train.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmbd.data.dataset import Dataset
from mmbd.training import loop as train
from mmbd.triggers.backdoor import Backdoor


@dataclass(frozen=True)
class Victim:
    """An untrained network, what it is to be trained on, and how.

    `normalise` stands between the raw inputs and the network. Every random choice of an attack
    follows from `seed`. `trainer` is `train.fit` or stands in for it, as `private.fit` does.
    """

    network: nn.Module
    training: Dataset
    recipe: train.Recipe
    seed: int
    normalise: train.Transform = lambda x: x
    trainer: Callable[..., None] = train.fit

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.training.inputs.shape[1:])

    def predict(self, inputs: Tensor) -> Tensor:
        """The classes (n,) that the network gives raw inputs (n, *shape)."""
        return train.predict(self.network, inputs, normalise=self.normalise)

    def fit(self, training: Dataset | None = None, **hooks: Any) -> None:
        """Train the network by its recipe on `training` (default: the victim's own set)."""
        chosen = self.training if training is None else training
        self.trainer(
            self.network,
            chosen.inputs,
            chosen.labels,
            self.recipe,
            seed=self.seed,
            normalise=self.normalise,
            **hooks,
        )


# Trains the victim's network with a backdoor in it: attack(victim, sources=, target=, **options).
Attack = Callable[..., Backdoor]

# Trains it without one, in a way that is hard to tell from one: training(victim, **options);
# returns its settings, JSON-ready.
Difficult = Callable[..., dict[str, Any]]


def check_labels(sources: Sequence[int], target: int, classes: int) -> None:
    """ValueError unless the sources and the target are different classes of the data."""
    if not sources:
        raise ValueError("no source classes given; name at least one")
    for label in (*sources, target):
        if not 0 <= label < classes:
            raise ValueError(f"class {label} is out of range: the data has 0 to {classes - 1}")
    if target in sources:
        raise ValueError(f"the target class {target} cannot be a source class too")
