"""A ladder of repairs: bounds first, and weights trained where a search says that bounds are not enough.

Bounds stop a trigger that drives some activation high, and change no weight. A warp drives none
high, and a pattern that moves every activation a little may leave none to bound; hardening stops
those, but takes many times as long and changes the weights. What a network needs shows
without any trigger, by universal perturbations (`search.universal`). A flow that takes many clean
samples to one class is found on networks with a warp: these are hardened without bounds,
which would cost accuracy for nothing; unless a small patch takes nearly all samples to one class, which
a warp's network does not yield to, however many a flow takes. The others get bounds. Then the search for
what still works (`ladder`) decides: where patches, sparse or added changes that took samples to a class still
do, the weights are hardened against these, and where that is not enough, trained against the latent shift
towards that class. A step after which the search reaches no less is undone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mmbd.base.errors import NotEvaluable, NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.ladder import Ladder, Look, Reached, set_aside, words
from mmbd.mitigators.learned_bounds import Layers
from mmbd.mitigators.mitigator import Mitigation, curves_of, done, settings_of
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
from mmbd.search.still_reached import GIVES_WAY, patch_shares
from mmbd.search.universal import find, record_rows

# A patch of 3 x 3 of 32 x 32 pixels. On networks with a warp it took up to 65 % to a class, on patched ones
# of the same kind all.
PATCH_SIDE, PATCH_WORKS = 3 / 32, 0.8


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
    search: bool = True,
    hardening_steps: int = 150,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Bound the activations, and train the weights where a search says that more is needed.

    1. A flow is searched for on the network. If it works, and no small patch does, the network is
       hardened against flows, and gets no bounds. Where another change that took samples to a class still
       does then, that is undone.
    2. Otherwise the activations get the bounds of `mm_bm`.
    3. If the search then still takes clearly more samples to a class that had given way before than to
       others, or the added perturbation that the bounds were tuned against still works, the bounded network
       is hardened against the kinds that do. Where bounds left no accuracy to spend on that,
       the unrepaired network is hardened.
    4. If it still does, `latent_shift` follows, towards the class that most samples go to.

    A step of 3 or 4 after which no less is reached, or that cannot keep the accuracy, is undone. They learn
    to answer as the network did before any repair, and do not see a quarter of the samples (where that is
    two of every class): these are what is searched on, and the accuracy is kept there, too.

    The record's notes say what was chosen and why. Its settings hold `chosen` (the parts, such as "mm-bm +
    hardening"), `ladder` (a row a step that was tried: its name, what was reached before and after it on
    average, and whether it was kept) and the settings of each part. Its perturbations are those of the
    parts, and a flow that was searched for on the bounded network.

    Args:
        classifier: what to repair.
        samples: clean ones, 20 a class or more.
        layers: which activations get bounds, see `mm_bm`.
        accuracy: the share of the accuracy on the samples to keep, of all parts.
        steps: of the bounds.
        added_still_works: the share of other classes' samples, 0 to 1, that the added perturbation
            has to take to its class for the bounds not to be enough; above 1 it does not count.
        flow_works: the share that a flow has to take for the network to be hardened against it.
        added_worked: the share that the added perturbation has to have taken before the bounds.
        patch_works: the share that a small patch has to take for the network to have no warp; above 1
            no patch counts.
        search: whether the search decides; without it only flows and that added perturbation do.
        hardening_steps: of the hardening, and of the latent shift.
        seed: of everything random.
        progress: called by each part, with its own number of steps.

    Raises:
        NotMitigated: as `mm_bm` does. Where no further step keeps the accuracy, the bounds are what
            is returned, and a note says so.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    limits = {"added_still_works": added_still_works, "flow_works": flow_works, "added_worked": added_worked}
    common: dict[str, Any] = {"accuracy": accuracy, "seed": seed, "progress": progress}
    train, aside = set_aside(samples, seed) if search else (samples, None)
    look = Look(classifier, samples if aside is None else aside, seed)
    trained: dict[str, Any] = {"teacher": classifier, "aside": aside, "steps": hardening_steps, **common}

    def whole(parts: Sequence[Mitigation], rows: Rows, tried: Sequence[Mapping[str, Any]] = ()) -> Mitigation:
        records = {made.record.method: made.record for made in parts}
        repaired = parts[-1].classifier
        record = replace(
            done("auto", repaired, samples, parts[-1].record).record,
            method="auto",
            settings={"chosen": " + ".join(records), "ladder": tuple(tried), **settings}
            | {name: own.settings for name, own in records.items()},
            layers=parts[0].record.layers,
            curves=curves_of(records.values()),
            perturbations=judged(rows, **limits),
            seconds=time.perf_counter() - started,
            notes=tuple(notes),
        )
        return Mitigation(repaired, record)

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
            hardened = hardening(
                classifier, samples, perturbations=("flow",), steps=hardening_steps, **common
            )
            wrong = (
                [one for one in look.at(hardened.classifier).left if one.after >= GIVES_WAY] if search else []
            )
            if not wrong:
                notes.append(f"hardened, without bounds: {_words(row)}")
                return whole([hardened], hardened.record.perturbations)
            notes.append(f"{_words(row)}, but hardening against it was undone: {words(wrong[0])}")
        except NotMitigated as error:
            notes.append(f"{_words(row)}, but hardening against it did not do: {error}")
    bounded = mm_bm(classifier, samples, layers=layers, steps=steps, **common)
    adapted = easiest_flow(bounded.classifier, samples, seed)
    flows = _rows(adapted, samples, classifier, bounded.classifier)
    added = still_working(bounded.record.perturbations, **limits)
    reached = look.at(bounded.classifier) if search else Reached()
    notes.append(
        _why(easiest_added(bounded.record.perturbations, added_worked), reached, hardened=bool(added))
    )
    ladder = Ladder(look, train, trained, reached, notes)
    parts = ladder.climbed(bounded, "added" if added else None)
    others = (*bounded.record.perturbations, *flows) if parts[0] is bounded else ()
    newest = [row for part in parts if part is not bounded for row in part.record.perturbations]
    kinds = {row["kind"] for row in newest}
    rows = (*(row for row in others if row["kind"] not in kinds), *newest)
    return whole(parts, rows, ladder.tried)


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


def _why(most: Mapping[str, Any] | None, reached: Reached, *, hardened: bool) -> str:
    """Whether bounds are enough, in words."""
    if hardened and most is not None:
        return f"not enough: with bounds {_words(most, still=True)}"
    if reached.left:
        return f"not enough: with bounds {words(reached.left[0])}"
    if most is not None:
        return f"bounds only: with them {_words(most)}"
    gave_way = [row for row in reached.rows if row.gave_way]
    if gave_way:
        return f"bounds only: with them {words(max(gave_way, key=lambda row: row.after), still=False)}"
    return "bounds only: no small change was found that takes most samples to one class"


def _words(row: Mapping[str, Any], *, still: bool = False) -> str:
    """What a perturbation achieves after the repair, and before if that was more."""
    what = f"a small {KINDS[row['kind']].noun}"
    if not still and row["before"] > row["after"]:
        what += f" that took {row['before']:.0%}"
    takes = "still takes" if still else "takes"
    return f"{what} {takes} {row['after']:.0%} of the other classes' samples to class {row['target']}"
