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
from mmbd.model.forward import classes_of
from mmbd.model.normalised import Normalised
from mmbd.training import loop as train
from mmbd.triggers.backdoor import Backdoor

# Inputs a batch where a trained network is asked: figures in cards were measured so.
BATCH = 500


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
        return classes_of(Normalised(self.network, self.normalise), inputs, batch=BATCH)

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


@dataclass(frozen=True)
class Attack:
    """A row of `ATTACKS`: trains a victim's network with a backdoor in it.

    Args:
        train: attack(victim, sources=, target=, **options); every option has a default.
        title: what it does, in a line.
        poisons_first: whether it takes `count` samples of the source classes, or a `rate` of all,
            once before the training; the sources must have them to spare.
    """

    train: Callable[..., Backdoor]
    title: str
    poisons_first: bool = False

    def __call__(self, victim: Victim, *, sources: Sequence[int], target: int, **options: Any) -> Backdoor:
        return self.train(victim, sources=sources, target=target, **options)


@dataclass(frozen=True)
class HardClean:
    """A row of `HARD_CLEAN`: trains without a backdoor, in a way that is hard to tell from one.

    Args:
        train: training(victim, **options); returns its settings, JSON-ready.
        title: what it does, in a line.
    """

    train: Callable[..., dict[str, Any]]
    title: str

    def __call__(self, victim: Victim, **options: Any) -> dict[str, Any]:
        return self.train(victim, **options)


def check_labels(sources: Sequence[int], target: int, classes: int) -> None:
    """ValueError unless the sources and the target are different classes of the data."""
    if not sources:
        raise ValueError("no source classes given; name at least one")
    for label in (*sources, target):
        if not 0 <= label < classes:
            raise ValueError(f"class {label} is out of range: the data has 0 to {classes - 1}")
    if target in sources:
        raise ValueError(f"the target class {target} cannot be a source class too")
