"""What was scanned, what was run and what went less than smoothly: the facts of a report."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import torch

from mmbd.base.version import __version__
from mmbd.detectors.mm_bd.search import Searched
from mmbd.results.report import Run


def run_of(found: Sequence[Searched], *, method: str, seed: int, started: str, device: str) -> Run:
    """How the searches for margins, and for universal perturbations, were run."""
    first = found[0].margins
    searched = [one.universal for one in found if one.universal is not None]
    margins = [one.margins for one in found]
    margins += [one.beside.margins for one in found if one.beside is not None]
    everything = [*margins, *searched]
    return Run(
        method=method,
        settings=asdict(first.ascent),
        seed=seed,
        evaluations=sum(part.evaluations for part in everything),
        seconds=sum(part.seconds for part in everything),
        batch=first.batch,
        retreats=sum(part.oom_retries for part in everything),
        converged=int(first.converged.sum()),
        searches=first.margins.numel(),
        dead=int(first.zero_gradient.sum()),
        device=device,
        started=started,
        versions={"mmbd": __version__, "torch": torch.__version__, "python": platform.python_version()},
        universal=asdict(searched[0].search) if searched else None,
    )


def mishaps(searched: Searched) -> list[str]:
    """What went less than smoothly, in sentences."""
    sentences: list[str] = []
    found, reached = searched.margins, searched.reached
    classes = len(found.valid)
    if reached.unsearched:
        sentences.append(
            f"{len(reached.unsearched)} of {classes} classes could not be searched "
            f"({_some(reached.unsearched)}): the gradient was zero at every start, bright, dark "
            "and smooth ones among them."
        )
    if reached.fixed:
        sentences.append(
            f"{len(reached.fixed)} of {classes} classes could not be searched "
            f"({_some(reached.fixed)}): no input moves their logits, and none wins. They are left "
            "out, as outputs that the network does not use."
        )
    if harder := sorted(set(reached.statistics) - set(reached.fixed)):
        sentences.append(
            f"{len(harder)} classes were not reached from the usual starts, and were searched from "
            f"bright, dark and smooth ones ({_some(harder)})."
        )
    if searched.beside is not None:
        sentences.append(
            "The tables of clean networks are of the default search, which was run beside the one "
            "asked for: the joint and the population null judge that one."
        )
    sentences += searched.recheck.caveats
    stuck = sum(value <= 0 for value in searched.statistics.values())
    if stuck:
        sentences.append(f"{stuck} classes never won a single input: their searches may have got stuck.")
    if found.oom_retries:
        sentences.append(f"Memory ran out {found.oom_retries} times; the batch was cut to {found.batch}.")
    counts = Counter(found.zero_gradient.sum(1).tolist())
    partly = sum(count for dead, count in counts.items() if 0 < dead < found.zero_gradient.shape[1])
    if partly:
        sentences.append(f"In {partly} classes some of the searches had no gradient to start from.")
    return sentences


def _some(labels: Sequence[int], most: int = 10) -> str:
    """A few class numbers in words."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return f"class{'es' if len(labels) > 1 else ''} {', '.join(map(str, labels[:most]))}{more}"
