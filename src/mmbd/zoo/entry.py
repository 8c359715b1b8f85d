"""One labelled model of a zoo, wherever the zoo comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mmbd.data.dataset import Dataset
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
        excluded: why the model counts neither as hit nor as miss, such as an attack that failed.
        group: what tables are split by: data and architecture.
        seed: of its training, where known; even and odd seeds make the halves on which settings
            are chosen and reported.
        samples: loads clean samples of the model's own data set, on which it was not trained, with
            the labels that it knows; None where nothing says which they are. Raises `Failed` where
            they are not there or not those that the model's card describes.
    """

    name: str
    label: Label
    open: Callable[[], Classifier] = field(repr=False, compare=False)
    attack: str = "clean"
    targets: tuple[int, ...] = ()
    excluded: str | None = None
    group: str = ""
    seed: int | None = None
    samples: Callable[[], Dataset] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Zoo:
    """Labelled models, and the entries that could not be read, each with its reason."""

    entries: tuple[Entry, ...]
    broken: tuple[tuple[str, str], ...] = ()
