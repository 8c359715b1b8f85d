"""Labelled samples, and the names of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.data.arrays import Read


@dataclass(frozen=True)
class Dataset:
    """Inputs, labels and the names of the classes; inputs[i] belongs to names[labels[i]]."""

    inputs: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.labels)} labels")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.names):
            raise ValueError(
                f"labels run from {int(self.labels.min())} to {int(self.labels.max())}, "
                f"expected 0 to {len(self.names) - 1} ({len(self.names)} class names)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Dataset:
        """The samples at `indices`, in that order."""
        return Dataset(self.inputs[indices], self.labels[indices], self.names)

    def classes(self, keep: Sequence[int]) -> Dataset:
        """Only the classes in `keep`, renumbered 0, 1, ... in that order."""
        renumbered = torch.full((len(self.names),), -1)
        renumbered[torch.tensor(keep)] = torch.arange(len(keep))
        kept = renumbered[self.labels] >= 0
        return Dataset(
            self.inputs[kept], renumbered[self.labels[kept]], tuple(self.names[label] for label in keep)
        )


def dataset(read: Read) -> Dataset:
    """The data set of what a reader found; its classes are named by numbers where the file names none."""
    names = read.names
    if names is None:
        names = tuple(map(str, range(max(read.labels.tolist(), default=-1) + 1)))
    return Dataset(read.inputs, read.labels, names)


def class_folders(path: Path) -> list[str]:
    """The names of the classes in a folder with a folder each, in the order of their labels."""
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def split(samples: Dataset, per_class: int, *, seed: int = 0, leave: bool = True) -> tuple[Dataset, Dataset]:
    """`per_class` random samples of every class, and all others.

    A class with fewer gives half of what it has, so that some are left to measure on; all of it
    where none need to be left (`leave`).
    """
    generator = generator_for("fix", seed)
    chosen = torch.zeros(len(samples), dtype=torch.bool)
    for label in range(len(samples.names)):
        there = (samples.labels == label).nonzero().flatten()
        order = there[torch.randperm(len(there), generator=generator)]
        enough = len(there) > per_class or not leave
        chosen[order[: per_class if enough else (len(there) + 1) // 2]] = True
    return samples.take(chosen.nonzero().flatten()), samples.take((~chosen).nonzero().flatten())


def some(samples: Dataset, most: int, *, seed: int = 0) -> Dataset:
    """At most `most` of the samples, drawn."""
    if len(samples) <= most:
        return samples
    drawn = torch.randperm(len(samples), generator=generator_for("fix-some", seed))
    return samples.take(drawn[:most])
