"""What was scanned, what was run and what went less than smoothly: the facts of a report."""

from __future__ import annotations

import math
import platform
from collections import Counter
from dataclasses import asdict

import torch
from torch import nn

from mmbd import __version__
from mmbd.classifier import Classifier
from mmbd.estimate import MaximumMargins
from mmbd.report import Model, Run
from mmbd.universal import UniversalGains


def describe(classifier: Classifier) -> Model:
    """What can be said of a model that came from memory."""
    network = classifier.model
    name = type(network).__name__ if isinstance(network, nn.Module) else repr(network)
    parameters = classifier.parameter_count
    return Model(
        name=name, file=None, sha256=None, bytes=None, format=None, architecture=name,
        parameters=parameters, domain=repr(classifier.domain),
        input_shape=classifier.domain.shape, bounds=classifier.domain.bounds,
        mean=classifier.mean, std=classifier.std,
    )  # fmt: skip


def run_of(
    found: list[MaximumMargins],
    gained: list[UniversalGains | None],
    *,
    method: str,
    seed: int,
    started: str,
    device: str,
) -> Run:
    """How the searches for margins, and for universal perturbations, were run."""
    first, searched = found[0], [gains for gains in gained if gains is not None]
    everything = [*found, *searched]
    return Run(
        method=method,
        settings=asdict(first.ascent),
        seed=seed,
        evaluations=sum(part.evaluations for part in everything),
        seconds=sum(part.seconds for part in everything),
        batch=first.batch,
        retreats=sum(part.retreats for part in everything),
        converged=int(first.converged.sum()),
        searches=first.margins.numel(),
        dead=int(first.dead.sum()),
        device=device,
        started=started,
        versions={
            "mmbd": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        universal=asdict(searched[0].search) if searched else None,
    )


def mishaps(found: MaximumMargins) -> list[str]:
    """What went less than smoothly, in sentences."""
    sentences: list[str] = []
    invalid = [label for label, valid in enumerate(found.valid.tolist()) if not valid]
    if invalid:
        sentences.append(
            f"{len(invalid)} of {len(found.valid)} classes could not be searched: the gradient was "
            f"zero at every start. They are left out."
        )
    stuck = sum(value <= 0 for value in valid(found).values())
    if stuck:
        sentences.append(
            f"{stuck} classes never won a single input: their searches may have got stuck."
        )
    if found.retreats:
        sentences.append(
            f"Memory ran out {found.retreats} times; the batch was cut to {found.batch}."
        )
    counts = Counter(found.dead.sum(1).tolist())
    partly = sum(count for dead, count in counts.items() if 0 < dead < found.dead.shape[1])
    if partly:
        sentences.append(f"In {partly} classes some of the searches had no gradient to start from.")
    return sentences


def valid(found: MaximumMargins) -> dict[int, float]:
    """The statistics that count, by class."""
    return {
        label: value
        for label, value in enumerate(found.statistics.tolist())
        if found.valid[label] and math.isfinite(value)
    }
