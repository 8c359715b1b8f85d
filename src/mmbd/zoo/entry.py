"""One labelled model of a zoo, wherever the zoo comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mmbd.model.classifier import Classifier

Label = Literal["clean", "backdoored"]


@dataclass(frozen=True)
class Entry:
    """A model with the truth about it.

    Args:
        name: unique in its zoo.
        label: the truth.
        open: loads the classifier; raises `Failed` or `Refused` where the file is broken.
        attack: the attack's name; "clean" for ordinary clean models, and the name of the difficulty
            for difficult ones ("imbalance").
        targets: the target classes of a backdoored model; all of them for an all-to-all attack.
        set_aside: why the model counts neither as hit nor as miss, such as an attack that failed.
        group: what tables are split by: data and architecture.
        seed: of its training, where known; even and odd seeds make the halves on which settings
            are chosen and reported.
    """

    name: str
    label: Label
    open: Callable[[], Classifier] = field(repr=False, compare=False)
    attack: str = "clean"
    targets: tuple[int, ...] = ()
    set_aside: str | None = None
    group: str = ""
    seed: int | None = None


@dataclass(frozen=True)
class Zoo:
    """Labelled models, and the entries that could not be read, each with its reason."""

    entries: tuple[Entry, ...]
    broken: tuple[tuple[str, str], ...] = ()
