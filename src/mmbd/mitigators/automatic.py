"""Bounds where they are enough, and hardening where a universal perturbation shows they are not.

Bounds stop a trigger that drives some activation high, and change no weight. A warp drives none
high, and a pattern that moves every activation a little may leave none to bound; hardening stops
those, but takes many times as long and changes the weights. Which of the two a network needs shows
without any trigger, by universal perturbations (`search.universal`). A flow that takes many clean
samples to one class is found on networks with a warp: these are hardened without bounds,
which would cost accuracy for nothing; unless a small patch takes nearly all samples to one class, which
a warp's network does not yield to, however many a flow takes. The others get bounds, and are
hardened too where the added perturbation that worked best, having adapted to the bounds, still
takes most samples to its class (`still_working`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from mmbd.base.errors import NotEvaluable, NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.learned_bounds import Layers
from mmbd.mitigators.mitigator import Mitigation, curves_of, settings_of
from mmbd.mitigators.mm_bm import mm_bm
from mmbd.mitigators.still_working import (
    ADDED_STILL_WORKS,
    ADDED_WORKED,
    FLOW_WORKS,
    Rows,
    easiest_added,
    judged,
    still_working,
)
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.perturbations import KINDS, Perturbations, possible_kinds
from mmbd.search.still_reached import patch_shares
from mmbd.search.universal import find, record_rows

# A patch of 3 x 3 of 32 x 32 pixels. On networks with a warp it took up to 65 % to a class, on patched ones
# of the same kind all.
PATCH_SIDE, PATCH_WORKS = 3 / 32, 0.8
BOUNDS_ONLY = "hardening did not do, so the bounds are all there is"


def automatic(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: Layers = "all",
    accuracy: float = 0.97,
    steps: int = 24,
    added_still_works: float = ADDED_STILL_WORKS,
    flow_works: float = FLOW_WORKS,
    added_worked: float = ADDED_WORKED,
    patch_works: float = PATCH_WORKS,
    hardening_steps: int = 150,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Bound the activations, or harden the weights, or both, as universal perturbations say.

    1. A flow is searched for on the network. If it works, and no small patch does, the network is
       hardened against flows, and gets no bounds.
    2. Otherwise the activations get the bounds of `mm_bm`. If the added perturbation that had
       worked best still works on the bounded network, that is hardened against added ones. It
       learns to answer as the network did before any repair.

    The record's notes say what was chosen and why. Its settings hold `chosen` ("mm-bm", "mm-bm +
    hardening" or "hardening") and the settings of each part. Its perturbations are those of the
    parts, and a flow that was searched for on the bounded network.

    Args:
        classifier: what to repair.
        samples: clean ones, 20 a class or more.
        layers: which activations get bounds, see `mm_bm`.
        accuracy: the share of the accuracy on the samples to keep, of both parts.
        steps: of the bounds.
        added_still_works: the share of other classes' samples, 0 to 1, that the added perturbation
            has to take to its class for the bounds not to be enough; above 1 they always are.
        flow_works: the share that a flow has to take for the network to be hardened against it.
        added_worked: the share that the added perturbation has to have taken before the bounds.
        patch_works: the share that a small patch has to take for the network to have no warp; above 1
            no patch counts.
        hardening_steps: of the hardening.
        seed: of everything random.
        progress: called by the bounds and by the hardening, each with its own number of steps.

    Raises:
        NotMitigated: as `mm_bm` does. Where hardening cannot keep the accuracy, the bounds are what
            is returned, and a note says so. Where bounds left no accuracy to spend on hardening,
            the unrepaired network is hardened.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    limits = {"added_still_works": added_still_works, "flow_works": flow_works, "added_worked": added_worked}
    common: dict[str, Any] = {"accuracy": accuracy, "seed": seed, "progress": progress}

    def harden(start: Classifier, kind: str) -> Mitigation:
        return hardening(
            start, samples, teacher=classifier, steps=hardening_steps, perturbations=(kind,), **common
        )

    def whole(parts: list[Mitigation], rows: Rows) -> Mitigation:
        records = {made.record.method: made.record for made in parts}
        record = replace(
            parts[-1].record,
            method="auto",
            settings={"chosen": " + ".join(records), **settings}
            | {name: own.settings for name, own in records.items()},
            layers=parts[0].record.layers,
            curves=curves_of(records.values()),
            perturbations=judged(rows, **limits),
            seconds=time.perf_counter() - started,
            notes=tuple(notes),
        )
        return Mitigation(parts[-1].classifier, record)

    notes: list[str] = []
    flow = easiest_flow(classifier, samples, seed)
    for row in still_working(_rows(flow, samples, classifier), **limits):
        share, target = easiest_patch(classifier, samples, seed)
        if share >= patch_works:
            notes.append(
                f"no warp, though {_words(row)}: a small patch takes {share:.0%} of them to class {target}"
            )
            continue
        try:
            hardened = harden(classifier, "flow")
            notes.append(f"hardened, without bounds: {_words(row)}")
            return whole([hardened], hardened.record.perturbations)
        except NotMitigated as error:
            notes.append(f"{_words(row)}, but hardening against it did not do: {error}")
    bounded = mm_bm(classifier, samples, layers=layers, steps=steps, **common)
    added = bounded.record.perturbations
    adapted = easiest_flow(bounded.classifier, samples, seed)
    flows = _rows(adapted, samples, classifier, bounded.classifier)
    rows = (*bounded.record.perturbations, *flows)
    left = still_working(added, **limits)
    notes.append(_why(easiest_added(added, added_worked), hardened=bool(left)))
    if not left:
        return whole([bounded], rows)
    try:
        hardened = harden(bounded.classifier, "added")
        others = (row for row in rows if row["kind"] != "added")
        return whole([bounded, hardened], (*others, *hardened.record.perturbations))
    except NotMitigated:
        pass  # the bounds cost all the accuracy there was to spend, for nothing
    try:
        hardened = harden(classifier, "added")
        notes[-1] += "; the bounds were dropped"
        return whole([hardened], hardened.record.perturbations)
    except NotMitigated as error:
        notes.append(f"{BOUNDS_ONLY}: {error}")
        return whole([bounded], rows)


def easiest_flow(classifier: Classifier, samples: Samples, seed: int) -> Perturbations | None:
    """The flow to the class that yields most to one; none but for images."""
    if "flow" not in possible_kinds(classifier.domain):
        return None
    with classifier.frozen():
        found = find(classifier, samples, "flow", generator=generator_for("auto", seed))
    return found.only(found.success.argmax().reshape(1))


def easiest_patch(classifier: Classifier, samples: Samples, seed: int) -> tuple[float, int]:
    """The share of other classes' samples that a small patch takes to the class that yields most, and that.

    0 where all samples are of one class.
    """
    side = max(1, round(PATCH_SIDE * min(classifier.domain.shape[1:])))
    try:
        with classifier.frozen():
            found = patch_shares(classifier, samples, samples, side=side, seed=seed)
    except NotEvaluable:
        return 0.0, 0
    return max((share, target) for target, (share, _) in found.items())


def _rows(found: Perturbations | None, samples: Samples, *networks: Classifier) -> Rows:
    """What a perturbation achieves on a network, or before and after, as rows of a record."""
    if found is None:
        return ()
    rates: list[Tensor] = []
    for network in networks:
        with network.frozen():
            rates.append(found.rates(network, samples))
    return record_rows(found, rates[0], rates[-1])


def _why(most: Mapping[str, Any] | None, *, hardened: bool) -> str:
    """The choice between bounds and hardening on top of them, in words."""
    if most is None:
        return "bounds only: no small change was found that takes most samples to one class"
    return f"{'hardened: with bounds' if hardened else 'bounds only: with them'} " + _words(
        most, still=hardened
    )


def _words(row: Mapping[str, Any], *, still: bool = False) -> str:
    """What a perturbation achieves after the repair, and before if that was more."""
    what = f"a small {KINDS[row['kind']].noun}"
    if not still and row["before"] > row["after"]:
        what += f" that took {row['before']:.0%}"
    takes = "still takes" if still else "takes"
    return f"{what} {takes} {row['after']:.0%} of the other classes' samples to class {row['target']}"
