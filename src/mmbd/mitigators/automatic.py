"""Bounds where they are enough, and hardening where a universal perturbation still works on them.

Bounds stop a trigger that drives some activation high, and change no weight. A warp drives none
high, and a pattern that moves every activation a little may leave none to bound; hardening stops
those, for many times the time and for other weights. Which of the two a network needs shows
without any trigger: after the bounds a universal perturbation (`universal`), an added one that
has adapted to them or a flow, takes most clean samples to one class, or none does. Sparse ones say
nothing of it: bounds stop them, and a thirtieth of the pixels moves a clean network too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mmbd.classifier import Classifier
from mmbd.domain import generator_for
from mmbd.mitigators import universal
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.learner import Layers
from mmbd.mitigators.mitigator import Mitigation, NotMitigated, Progress, Samples
from mmbd.mitigators.tuned import tuned

# The share of samples that a perturbation which still works takes to its class. Where bounds had
# left half a chessboard's success or more, added ones still took 53 % and more; after some that had
# undone a patch they take up to 62 % too, and those are hardened for little. Flows took up to 25 %
# on networks without a warp, and 45 % and more on ones with a warp.
STANDING, FLOWING = 0.5, 0.35
# And what an added one took before: even a clean network yielded 54 % to the largest change tried,
# 74 % with bounds. Of networks with an added backdoor it was 88 % and more.
WORKED = 0.7
Rows = Sequence[Mapping[str, Any]]


def automatic(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: Layers = "all",
    accuracy: float = 0.97,
    steps: int = 24,
    standing: float = STANDING,
    flowing: float = FLOWING,
    worked: float = WORKED,
    keep_bounds: bool | None = None,
    hardening_steps: int = 150,
    seed: int = 0,
    progress: Progress | None = None,
) -> Mitigation:
    """Bound the activations, or harden the network if a perturbation still works on the bounds.

    The bounds are those of `tuned`. Where they are not enough, the bounded network is hardened
    against the kinds of perturbations that still work, towards the answers of the unrepaired one.
    The record's notes say what was chosen and why, its settings `chosen` ("mm-bm", "mm-bm +
    hardening", or "hardening" if the bounds are dropped) and those of each part; among its
    perturbations is the flow that was tried on the bounded network.

    Args:
        classifier: what to repair.
        samples: clean ones, 20 a class or more.
        layers: which activations get bounds, see `tuned`.
        accuracy: the share of the accuracy on the samples to keep, of both parts.
        steps: of the bounds.
        standing: the share of other classes' samples, 0 to 1, that an added perturbation has to
            take to its class for the bounds not to be enough; above 1 nothing is hardened for it.
        flowing: the same for a flow.
        worked: the share that an added one has to have taken there before the bounds. A flow is
            looked for on the bounded network itself, and clean networks hardly yield to any.
        keep_bounds: whether bounds stay on a hardened network; False drops them, with what accuracy
            they cost, and hardens the unrepaired one. By default they stay unless a flow is all
            that works: warps are then undone for less accuracy and further. For other triggers
            they do matter: on a BadNet of one source class they left 3 % of its success, and
            hardening without them 80 %. Bounds that leave no accuracy to spend on hardening are
            dropped too.
        hardening_steps: of the hardening.
        seed: of everything random.
        progress: called by the bounds and then by the hardening, each with its own number of steps.

    Raises:
        NotMitigated: as `tuned` does. Where hardening cannot keep the accuracy, the bounds are what
            is returned, and a note says so.
    """
    started = time.perf_counter()
    common: dict[str, Any] = {"accuracy": accuracy, "seed": seed, "progress": progress}
    first = tuned(classifier, samples, layers=layers, steps=steps, **common)
    rows = (*first.record.perturbations, *_flow(classifier, first.classifier, samples, seed))
    telling = [
        row
        for row in rows
        if row["kind"] == "flow" or (row["kind"] == "added" and row["before"] >= worked)
    ]
    left = [row for row in telling if stands(row, standing, flowing)]
    settings = {
        "layers": layers, "accuracy": accuracy, "steps": steps, "standing": standing,
        "flowing": flowing, "worked": worked, "keep_bounds": keep_bounds,
        "hardening_steps": hardening_steps,
    }  # fmt: skip
    parts, notes, bounded = [first], [_why(telling, left)], True
    if left:
        kinds = tuple(dict.fromkeys(row["kind"] for row in left))
        bounded = kinds != ("flow",) if keep_bounds is None else keep_bounds
        harden = partial(
            hardening, samples=samples, teacher=classifier, steps=hardening_steps,
            perturbations=kinds, **common,
        )  # fmt: skip
        try:
            if bounded:
                try:
                    parts.append(harden(first.classifier))
                except NotMitigated:  # they cost all the accuracy there was to spend, for nothing
                    bounded = False
            if not bounded:
                parts.append(harden(classifier))
                notes[0] += "; the bounds were dropped"
            # What was tried on bounds says nothing of a network without.
            other = [row for row in rows if bounded and row["kind"] not in kinds]
            rows = (*other, *parts[1].record.perturbations)
        except NotMitigated as error:
            bounded = True
            notes.append(f"hardening did not do, so the bounds are all there is: {error}")
    records = {made.record.method: made.record for made in parts}
    record = replace(
        parts[-1].record,
        method="auto",
        settings={"chosen": " + ".join(records) if bounded else "hardening", **settings}
        | {name: own.settings for name, own in records.items()},
        layers=first.record.layers if bounded else (),
        curves={
            f"{name}: {curve}": values
            for name, own in records.items()
            for curve, values in own.curves.items()
        },
        perturbations=rows,
        seconds=time.perf_counter() - started,
        notes=tuple(notes),
    )
    return Mitigation(parts[-1].classifier, record)


def stands(row: Mapping[str, Any], standing: float = STANDING, flowing: float = FLOWING) -> bool:
    """Whether the perturbation of a record's row still works; nobody can tell of a sparse one."""
    least = {"added": standing, "flow": flowing}.get(row["kind"], math.inf)
    return row["after"] >= least


def _flow(
    classifier: Classifier, bounded: Classifier, samples: Samples, seed: int
) -> tuple[dict[str, Any], ...]:
    """What a flow to the easiest class achieves, as a row of a record; none but for images.

    Bounds are not tuned against flows, so it is looked for on the bounded network itself.
    """
    if "flow" not in universal.kinds(classifier.domain):
        return ()
    with classifier.frozen(), bounded.frozen():
        generator = generator_for("auto", seed)
        found = universal.find(bounded, samples, "flow", generator=generator)
        found = found.only(found.success.argmax().reshape(1))
        rates = [found.rates(network, samples).tolist() for network in (classifier, bounded)]
    return tuple(
        {"kind": "flow", "target": target, "radius": found.radius, "before": before, "after": after}
        for target, before, after in zip(found.targets.tolist(), *rates, strict=True)
    )


def _why(tried: Rows, left: Rows) -> str:
    """The choice in words."""
    if not tried:
        return "bounds only: no small change or warp was found that takes most samples to one class"
    worst = max(left or tried, key=lambda row: row["after" if left else "before"])
    what = f"a small {'change' if worst['kind'] == 'added' else 'warp'}"
    after = f"{worst['after']:.0%} of the other classes' samples to class {worst['target']}"
    if not left:
        return f"bounds only: with them {what} that took {worst['before']:.0%} takes {after}"
    return f"hardened: with bounds {what} still takes {after}"
