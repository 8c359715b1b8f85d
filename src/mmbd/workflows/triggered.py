"""What a known trigger does before and after a repair, by source class, and what becomes of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.base.intervals import clopper_pearson
from mmbd.data.dataset import Dataset
from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.trigger import stamp

Interval = tuple[float, float]


@dataclass(frozen=True)
class Counted:
    """How many of `n` samples something is true of, before and after a repair."""

    n: int
    before: int
    after: int

    @property
    def shares(self) -> tuple[float, float]:
        """Before and after; 0 of nothing."""
        return self.before / max(1, self.n), self.after / max(1, self.n)

    @property
    def intervals(self) -> tuple[Interval, Interval]:
        """The exact 95 % intervals of both, see `clopper_pearson`."""
        return clopper_pearson(self.before, self.n), clopper_pearson(self.after, self.n)


@dataclass(frozen=True)
class Triggered:
    """What a trigger does.

    Args:
        success: samples with the trigger that go to the target: the attack success rate.
        untriggered: the same samples without it that go there all the same; None where the trigger itself is
            not known.
        recovered: samples with the trigger that are given their true class; None where that is not known.
        sources: name and attack success of every source class, where true classes are known.
    """

    success: Counted
    untriggered: Counted | None = None
    recovered: Counted | None = None
    sources: tuple[tuple[str, Counted], ...] = ()


def stamped(backdoor: Backdoor, samples: Dataset, networks: Sequence[Classifier]) -> Triggered:
    """A backdoor's triggers on clean samples of its source classes.

    Args:
        backdoor: of the classifiers' classes.
        samples: clean ones (n), numbered as the classifiers' classes.
        networks: before and after.

    Raises:
        ValueError: no sample is of a source class.
    """
    chosen = [
        (samples.inputs[samples.labels == source], trigger, source)
        for source, trigger in backdoor.triggers.items()
    ]
    chosen = [entry for entry in chosen if len(entry[0])]
    if not chosen:
        raise ValueError(f"no test samples of the source classes {sorted(backdoor.triggers)}")
    clean = torch.cat([inputs for inputs, _, _ in chosen])
    marked = torch.cat([stamp(trigger, inputs) for inputs, trigger, _ in chosen])
    labels = torch.cat([torch.full((len(inputs),), source) for inputs, _, source in chosen])
    targets = torch.tensor([backdoor.targets[source] for source in labels.tolist()])
    found = _measured([classes_of(network, marked) for network in networks], targets, labels, networks[0])
    idle = [classes_of(network, clean) == targets for network in networks]
    return Triggered(found.success, _counted(idle), found.recovered, found.sources)


def given(inputs: Tensor, target: int, labels: Tensor | None, networks: Sequence[Classifier]) -> Triggered:
    """Samples that carry the trigger already.

    Args:
        inputs: (n, *shape), raw.
        target: the class that the trigger takes them to.
        labels: (n,) their true classes, if known.
        networks: before and after.
    """
    targets = torch.full((len(inputs),), target)
    return _measured([classes_of(network, inputs) for network in networks], targets, labels, networks[0])


def _measured(
    answers: Sequence[Tensor], targets: Tensor, labels: Tensor | None, classifier: Classifier
) -> Triggered:
    hits = [answer == targets for answer in answers]
    if labels is None:
        return Triggered(_counted(hits))
    sources = tuple(
        (classifier.class_names[source], _counted([hit[labels == source] for hit in hits]))
        for source in labels.unique().tolist()
    )
    return Triggered(
        _counted(hits), recovered=_counted([answer == labels for answer in answers]), sources=sources
    )


def _counted(hits: Sequence[Tensor]) -> Counted:
    before, after = (int(hit.sum()) for hit in hits)
    return Counted(len(hits[0]), before, after)
