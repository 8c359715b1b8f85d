"""What was run, what it came to and what went less than smoothly: the facts of a finding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mmbd.detectors.mm_bd.searched import Searched
from mmbd.null.combined import AWAY, FLOW, GAIN, HEAD, WINDOW

# What the marks of `Searched.marked` are called in print, and their units.
COLUMNS = {
    GAIN: ("universal-perturbation gain", "logits"),
    WINDOW: ("window lift", "logits"),
    AWAY: ("window share", ""),
    FLOW: ("flow share", ""),
    HEAD: ("head share", ""),
}
# The same on clean samples, but for the flow share, which needs none of its own.
ON_SAMPLES = {
    WINDOW: ("window lift on samples", "logits"),
    AWAY: ("window share on samples", ""),
    FLOW: COLUMNS[FLOW],
}
FREE = (AWAY, HEAD)  # of all classes alike, whatever their number


def settings_of(found: Searched, method: str) -> dict[str, Any]:
    """How the searches for margins, and for universal perturbations, were run."""
    # Statistics of a race compare with no references: what fell behind was hardly searched.
    raced = {} if found.raced is None else {"raced": True}
    marks = {} if found.marks is None else {"marks": found.marks.key}
    if found.on_samples is not None:
        marks["on_samples"] = found.on_samples.key
    return {
        "method": method,
        "maximum_margins": asdict(found.margins.ascent) | raced,
        "universal_perturbations": asdict(found.universal.search) if found.universal is not None else None,
        **marks,
        **({"precision": "bfloat16, numbers in float32"} if found.guided else {}),
    }


def columns_of(found: Searched) -> list[tuple[str, dict[int, float], str]]:
    """Name, numbers by class and unit of every mark that is a number a class; those it was searched for."""
    marks, marked = found.marks, found.marked
    if marks is None or marked is None:
        return []
    unsearched = {
        label for label in range(len(found.margins.valid)) if not math.isfinite(marks.gains.added[label])
    }
    sampled = found.marked_on_samples
    told = [(COLUMNS[mark], mark, values) for mark, values in marked.by_mark.items()]
    if sampled is not None:
        told += [(ON_SAMPLES[mark], mark, values) for mark, values in sampled.by_mark.items()]
    return [
        (name, {k: value for k, value in values.items() if mark in FREE or k not in unsearched}, unit)
        for (name, unit), mark, values in told
    ]


def facts_of(found: Searched) -> dict[str, Any]:
    """What the searches came to; evaluations and retries are of all of them."""
    margins = found.margins
    parts = [margins] if found.default is None else [margins, found.default.margins]
    beside = (found.universal, found.marks, found.on_samples)
    everything = [*parts, *(part for part in beside if part is not None)]
    raced = {} if found.raced is None else {"classes_searched_to_the_end": len(found.raced)}
    return {
        **raced,
        "searches": int((~margins.margins.isnan()).sum()),
        "converged": int(margins.converged.sum()),
        "zero_gradient": int(margins.zero_gradient.sum()),
        "evaluations": sum(part.evaluations for part in everything),
        "batch": margins.batch,
        "oom_retries": sum(part.oom_retries for part in everything),
    }


def mishaps(searched: Searched) -> list[str]:
    """What went less than smoothly, in sentences."""
    sentences: list[str] = []
    found, reached = searched.margins, searched.reached
    classes = len(found.valid)
    if searched.left_out is not None:
        sentences.append(f"{searched.left_out[0].upper()}{searched.left_out[1:]}.")
    if searched.unguided is not None:
        sentences.append(f"The search was in float32: {searched.unguided}.")
    if searched.without_samples is not None:
        sentences.append(f"The clean samples were not used: {searched.without_samples}.")
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
    if searched.default is not None:
        judging = "combined" if searched.marks is not None else "joint"
        sentences.append(
            "The tables of clean networks are of the default search, which was run beside the one "
            f"asked for: the {judging} and the population null judge that one."
        )
    if searched.raced is not None:
        sentences.append(
            f"All {classes} classes were searched, {len(searched.raced)} of them to the end: the others fell "
            "behind in a quick look, and their numbers are what that gave."
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
