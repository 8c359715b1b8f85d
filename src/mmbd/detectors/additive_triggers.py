"""From the additive perturbations of pairs of classes to the parts of a finding: what PT-RED shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Artifact, Column, Matrix
from mmbd.search.additive import Found
from mmbd.search.enough import Pair

UNIT = "input ranges"
NORM = "over the L2 norm of a perturbation, where every element counts in shares of what it can range over"
# What `About` says of columns and pictures.
WORDS: Mapping[str, Any] = {
    "statistics": "How near each class is to others",
    "columns": {
        "largest 1 / norm": (
            f"The statistic of a class is one {NORM}: of the smallest one that takes most clean images of "
            "some other class to it."
        ),
        "1 / norm": (
            f"The statistic of a class is one {NORM}: it takes most clean images of all other classes to it."
        ),
        "p-value": (
            "The p-value says how often the largest of so many numbers would be as large, by a Gamma density "
            "fitted to all pairs with other targets."
        ),
        "success": "The success is the share of the clean images that the perturbation takes to the class.",
    },
    "artifacts": (
        "The smallest perturbation found",
        "What is added to an image, drawn around the middle of the range, and a clean image with it.",
    ),
    "suspect": "A small change takes images to this class; its {column} is {value}.",
    "tested": "How likely so near a class would be without a backdoor",
    "advice": {
        "backdoored": (
            "Look at the matrix of norms: a backdoor from all classes makes a whole column small, one from a "
            "single class one cell.",
        )
    },
}


def largest(worth: Mapping[Pair, float]) -> dict[int, float]:
    """By target, the largest 1 / norm of all sources."""
    found: dict[int, float] = {}
    for (_, target), value in worth.items():
        found[target] = max(value, found.get(target, 0.0))
    return found


def columns(
    classes: int,
    found: Mapping[Pair, Found],
    worth: Mapping[Pair, float],
    log10: Sequence[float | None] | None,
) -> tuple[Column, ...]:
    """The statistic of every class, and its p-value; without p-values how far perturbations got.

    Args:
        classes: how many there are.
        found: what was searched for.
        worth: 1 / norm of those that are compared.
        log10: decimal logarithms of p-values, one a class.
    """
    best = largest(worth)
    values = tuple(best.get(target) for target in range(classes))
    if log10 is None:
        success = {target: one.success for (_, target), one in found.items()}
        shares = tuple(success.get(target) for target in range(classes))
        return Column("1 / norm", values), Column("success", shares)
    chances = tuple(None if log is None else 10**log for log in log10)
    return Column("largest 1 / norm", values), Column("p-value", chances, suspicious="low")


def matrices(classes: int, found: Mapping[Pair, Found]) -> tuple[Matrix, Matrix]:
    """The norm of every pair's perturbation that got there, and how far each perturbation got."""

    def table(values: Mapping[Pair, float]) -> tuple[tuple[float | None, ...], ...]:
        return tuple(
            tuple(values.get((source, target)) for target in range(classes)) for source in range(classes)
        )

    norms = {pair: one.norm for pair, one in found.items() if one.reached and one.norm > 0}
    success = {pair: one.success for pair, one in found.items()}
    return Matrix("perturbation norm", table(norms), UNIT, "low"), Matrix("success", table(success))


def pictures(
    classifier: Classifier, samples: Samples, found: Mapping[Pair, Found], target: int
) -> tuple[Artifact, ...]:
    """The change from a target's nearest source, around the middle of the domain, and a sample with it.

    Both are moved back into the domain.
    """
    kept = [one for pair, one in found.items() if pair[1] == target and one.change is not None]
    if not kept or kept[0].change is None:
        return ()
    source, change = kept[0].pair[0], kept[0].change
    own = samples.labels != target if source is None else samples.labels == source
    image = samples.inputs[int(own.nonzero()[0])].cpu().contiguous()
    shown = torch.stack((_middle(classifier, change), image)) + change
    pattern, triggered = classifier.domain.project_(shown)
    return Artifact("triggered sample", target, triggered), Artifact("trigger pattern", target, pattern)


def caveats(classifier: Classifier, found: Mapping[Pair, Found], fate: str) -> list[str]:
    """What is to be said of perturbations that have no norm to compare, and what becomes of them."""
    missed = sum(not one.reached for one in found.values())
    there = [one.pair for one in found.values() if one.reached and one.norm == 0]
    said: list[str] = []
    if missed:
        said.append(
            f"{missed} of {len(found)} perturbations did not take enough samples to their class in time. "
            f"{fate}"
        )
    if there:
        names = "; ".join(_named(classifier, pair) for pair in there[:3])
        more = f"; and {len(there) - 3} more" if there[3:] else ""
        said.append(
            f"The model takes enough samples to another class without any change: {names}{more}. There is no "
            "norm to compare."
        )
    return said


def _middle(classifier: Classifier, like: torch.Tensor) -> torch.Tensor:
    low: Any = getattr(classifier.domain, "low", None)
    if low is None:
        return torch.full_like(like, sum(classifier.domain.bounds or (0.0, 0.0)) / 2)
    return (low + classifier.domain.extent / 2).to(like).expand_as(like)


def _named(classifier: Classifier, pair: Pair) -> str:
    source = "all others" if pair[0] is None else classifier.class_names[pair[0]]
    return f"{source} to {classifier.class_names[pair[1]]}"
