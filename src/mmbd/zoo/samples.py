"""The training and test samples of a job, checked before anything is trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbd import attacks
from mmbd.base.errors import Failed
from mmbd.base.reading import named
from mmbd.base.seeds import generator_for
from mmbd.base.text import listed
from mmbd.data import matching
from mmbd.data import read as data
from mmbd.data.dataset import Dataset
from mmbd.zoo import check
from mmbd.zoo.job import AttackPlan, DataPlan, Job


@dataclass(frozen=True)
class Samples:
    """What a network is trained and tested on; `digests` are SHA-256 of the samples themselves."""

    training: Dataset
    test: Dataset
    bounds: tuple[float, float]
    digests: dict[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.training.inputs.shape[1:])

    @property
    def names(self) -> tuple[str, ...]:
        return self.training.names


@lru_cache(maxsize=2)  # the models of a zoo share their data
def load(plan: DataPlan, root: Path) -> Samples:
    """Read both splits of a data set; relative paths are looked for under `root`.

    Raises:
        FileNotFoundError: nothing there.
        Failed: not readable as data, classes that differ between the splits, a class without
            training samples, labels or values out of range, or samples of different shapes; the
            message names the data set. A ValueError too.
        ValueError: what the plan itself says makes no sense.
    """
    try:
        training = _split(plan, root, plan.train, plan.train_split, seed=0)
        test = _split(plan, root, plan.test, plan.test_split, seed=1)
        if not len(training):
            raise Failed("the training set has no samples")
        if training.names != test.names:
            test = _renamed(test, training.names)
        if plan.classes is not None:
            keep = [label(name, training.names) for name in plan.classes]
            if len(set(keep)) < len(keep):
                raise ValueError(f"classes {list(plan.classes)} name one of them twice")
            training, test = training.classes(keep), test.classes(keep)
        training, test = _some(training, plan.limit, "limit"), _some(test, plan.test_limit, "test")
        bounds = _checked(training, test, plan.bounds)
    except Failed as error:
        raise Failed(f"data set {plan.name!r}: {error}") from error
    except ValueError as error:
        raise ValueError(f"data set {plan.name!r}: {error}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"data set {plan.name!r}: {error}") from error
    digests = {"train": digest(training), "test": digest(test)}
    return Samples(training, test, bounds, digests)


def described(said: Mapping[str, Any], root: Path, expected: str | None) -> Dataset:
    """The test samples of the data set in a model's card.

    Args:
        said: the part `data` of the card's settings, as whoever made the zoo wrote it.
        root: where relative paths begin.
        expected: the digest of these samples by the card, if it has one.

    Raises:
        FileNotFoundError, ValueError: as `load`; a ValueError too where the card says nonsense, or
            the samples are not those that it describes.
    """
    check.keys(said, list(DataPlan.__dataclass_fields__), "the card's data")
    found = load(check.build(DataPlan, said, "the card's data"), root.resolve())
    if expected not in (None, found.digests["test"]):
        raise Failed("the test samples are not those that the card describes (their SHA-256 differs)")
    return found.test


def label(name: int | str, names: Sequence[str]) -> int:
    """The number of a class given by number or name; ValueError if there is none."""
    if isinstance(name, str):
        if name not in names:
            raise check.unknown("class", name, names)
        return names.index(name)
    if not 0 <= name < len(names):
        raise ValueError(f"class {name} is out of range: the data has 0 to {len(names) - 1}")
    return name


def digest(samples: Dataset) -> str:
    """SHA-256 of inputs and labels with their shape and type, whatever file they came from."""
    found = hashlib.sha256()
    for tensor in (samples.inputs, samples.labels):
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def choose(job: Job, samples: Samples) -> tuple[tuple[int, ...], int]:
    """The source classes and the target of a job's attack, drawn where the plan leaves them open.

    Random sources are drawn from the classes that hold twice the samples to poison, so that the
    source class itself is not lost.

    Raises:
        ValueError: no such class, the target among the sources, or too few samples in them.
    """
    attack, names = job.attack, samples.names
    generator = generator_for("zoo sources", job.draw)
    drawn = int(torch.randint(len(names), (), generator=generator))
    target = drawn if attack.target is None else label(attack.target, names)
    others = [number for number in range(len(names)) if number != target]
    if isinstance(attack.sources, tuple):
        chosen = tuple(label(name, names) for name in attack.sources)
        if attack.target is None and target in chosen:
            free = [number for number in others if number not in chosen]
            if not free:
                raise ValueError("every class is a source; leave one out for the target")
            target = free[int(torch.randint(len(free), (), generator=generator))]
        return _tested(chosen, samples), target
    if attack.sources == "M":
        return tuple(others), target
    wanted = 1 if attack.sources == "S" else int(attack.sources)
    counts = torch.bincount(samples.training.labels, minlength=len(names))
    least = -(-2 * _poisoned(attack, len(samples.training)) // wanted)
    offering = [number for number in others if counts[number] >= least]
    if len(offering) < wanted:
        largest = max(others, key=lambda number: int(counts[number]))
        raise ValueError(
            f"{wanted} source classes with {least} samples are needed (twice those to poison), "
            f"{len(offering)} have them; the largest, {names[largest]!r}, has "
            f"{int(counts[largest])}: give a smaller count"
        )
    order = torch.randperm(len(offering), generator=generator)[:wanted].tolist()
    return _tested(tuple(sorted(offering[place] for place in order)), samples), target


def _poisoned(attack: AttackPlan, total: int) -> int:
    """How many samples of its sources an attack takes; other kinds take them batch by batch."""
    if not attacks.ATTACKS[attack.kind].poisons_first:
        return 0
    rate = attack.options.get("rate", 0.01)  # as `attacks.classic` has it
    return int(attack.options.get("count", round(rate * total)))


def _tested(sources: tuple[int, ...], samples: Samples) -> tuple[int, ...]:
    if not torch.isin(samples.test.labels, torch.tensor(sources)).any():
        named = [samples.names[source] for source in sources]
        raise ValueError(f"the test set has no samples of the source classes {named}")
    return sources


def _split(plan: DataPlan, root: Path, text: str, split: str | None, *, seed: int) -> Dataset:
    if text.startswith(data.GENERATED):
        return data.load(text, points=plan.points, seed=seed)
    path = root / text
    untouched = path.suffix == ".npz" and path.is_file()
    if untouched and (plan.size, plan.crop, plan.grey) != (None, 1.0, False):
        raise ValueError(f"{named(path)}: size, crop and grey are for images; NumPy arrays stay as is")
    found = data.load(
        path,
        size=plan.size,
        crop=plan.crop,
        grey=plan.grey,
        samples=plan.samples,
        points=plan.points,
        split=split,
    )
    kind = found.inputs.dtype
    if kind != torch.uint8 and not kind.is_floating_point:
        raise Failed(f"{named(path)}: expected 8-bit or floating-point samples, got {kind}")
    return found if kind == torch.uint8 else replace(found, inputs=found.inputs.float())


def _renamed(test: Dataset, names: tuple[str, ...]) -> Dataset:
    """The test set with the training set's names; numbers for names say nothing of their own."""
    if matching.numbers(test.names) is None:
        raise Failed(
            f"the classes of the splits differ: training has {listed(names, 9)}, test has "
            f"{listed(test.names, 9)}; give both the same ones in the same order"
        )
    if len(test.labels) and int(test.labels.max()) >= len(names):
        raise Failed(
            f"the test set has label {int(test.labels.max())}, out of range: the training set has "
            f"classes 0 to {len(names) - 1}"
        )
    # Folders of training samples may be numbered too, and come in the order of text: 0, 1, 10, 2.
    order = torch.tensor(matching.places(test.names, names, "the training set"), dtype=torch.int64)
    return replace(test, labels=order[test.labels], names=names)


def _some(samples: Dataset, limit: int | None, key: str) -> Dataset:
    """At most `limit` samples, always the same random ones, in their order."""
    if limit is None or limit >= len(samples):
        return samples
    if limit < 1:
        raise ValueError(f"the limit on samples must be at least 1, got {limit}")
    chosen = torch.randperm(len(samples), generator=generator_for("zoo samples", key))[:limit]
    return samples.take(chosen.sort().values)


def _checked(training: Dataset, test: Dataset, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """Check what every attack relies on; returns the bounds of valid inputs."""
    names = training.names
    if len(names) < 2:
        raise Failed(f"{len(names)} class; a classifier needs at least two")
    held = torch.bincount(training.labels, minlength=len(names))
    empty = [names[number] for number in (held == 0).nonzero().flatten().tolist()]
    if empty:
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        raise Failed(f"no training samples of class {listed(empty[:3])}{more}")
    if not len(test):
        raise Failed("the test set has no samples")
    shapes = [tuple(part.inputs.shape[1:]) for part in (training, test)]
    if shapes[0] != shapes[1] or training.inputs.dtype != test.inputs.dtype:
        kinds = [str(part.inputs.dtype).removeprefix("torch.") for part in (training, test)]
        raise Failed(
            f"training samples are {shapes[0]} {kinds[0]} and test samples {shapes[1]} {kinds[1]}; "
            "give one size"
        )
    if training.inputs.dtype == torch.uint8:
        if bounds not in (None, (0, 1)):
            raise ValueError(f"8-bit images lie in 0 to 1; bounds {bounds} cannot be")
        return (0.0, 1.0)
    return _bounds((training.inputs, test.inputs), bounds)


def _bounds(parts: Sequence[Tensor], bounds: tuple[float, float] | None) -> tuple[float, float]:
    low, high = bounds or ((-1.0, 1.0) if parts[0].ndim == 3 else (0.0, 1.0))
    least, most = min(float(x.min()) for x in parts), max(float(x.max()) for x in parts)
    if not low <= least <= most <= high:  # also NaN
        raise Failed(f"values from {least:g} to {most:g}, outside {low:g} to {high:g}: give bounds")
    return (low, high)
