"""PT-RED: the smallest additive perturbation of every pair of classes (Xiang, Miller, Kesidis 2020).

A backdoor's target class is reached from its source classes by a much smaller change than any other
class, so that 1 / norm is an outlier. Search and decision are those of the author's scripts, which
work in [0, 1]; here every element counts in shares of what it can range over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

from mmbd.base.choose import unknown
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback, spent
from mmbd.base.text import count
from mmbd.detectors import options as checks
from mmbd.detectors.additive_triggers import WORDS, caveats, columns, largest, matrices, pictures
from mmbd.detectors.detector import About, Detector
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.null.pairs import two_levels
from mmbd.null.paper import authors, paper
from mmbd.results.finding import Finding, Test
from mmbd.search.additive import Found, Problem, search
from mmbd.search.enough import Pair

TEST = "order statistics"
STEPS = 100
FEWEST = 4  # classes: nine pairs for every fit
FEWEST_REDUCED = 5  # classes, and perturbations: each is one number
REDUCED = {"paper": paper, "authors": authors}
Unreached = Literal["bound", "compare", "leave out"]
FATES: Mapping[Unreached, str] = {
    "bound": "The norms that they have come to only count among those that other classes are compared with.",
    "compare": "They are compared by the norms that they have come to, as in the author's script.",
    "leave out": "They are left out of the comparison.",
}


@dataclass(frozen=True)
class Judged:
    """The test, decimal logarithms of p-values by target (none in the reduced form), and the ranking."""

    test: Test
    log10: tuple[float | None, ...]
    ranking: tuple[int, ...]


def pt_red(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    reduced: bool = False,
    null: str = "paper",
    steps: int = STEPS,
    batch: int = 20,
    lr: float = 1e-3,
    late_lr: float = 1e-2,
    early: int = 51,
    goal: float = 0.8,
    clip: bool = False,
    unreached: Unreached = "bound",
    rows: int | None = None,
    memory_limit: int | None = None,
) -> Finding:
    """Search the perturbation that takes a source class to a target, for every pair, and compare norms.

    A perturbation that does not get there in time is marked. Its class would need a larger one, so the
    norm that it has come to only counts among those that other classes are compared with, where it makes
    the test more careful; it never speaks for its own class. One that needs no change at all has no norm.

    Args:
        classifier: the model under inspection; it has to answer inputs outside its domain, too.
        samples: clean ones of all classes; the paper takes 100 a class, 2 for the reduced form.
        level: flagged where the p-value is at most this (the script: 0.05).
        seed: of the minibatches.
        progress: called after every step.
        reduced: one perturbation a target, from the samples of all other classes (the paper of MM-BD,
            for many classes).
        null: how the reduced form decides, by MM-BD's rule; no source tells which of its variants. See
            `mmbd.null.paper`: "paper" (location 0), or "authors", whose third parameter K - 1 numbers
            hardly tell. With all pairs the location is free, as in the script.
        steps: the most steps (the script: 100).
        batch: samples a step, drawn anew (the script: 20).
        lr: of gradient descent on the mean cross-entropy (the script: 0.001 in [0, 1]).
        late_lr: after the first `early` steps (the script: 0.01).
        early: see there (the script: 51).
        goal: the share of the source's samples that have to go to the target (the script: 0.8).
        clip: move changed inputs back into the domain (the script does not).
        unreached: what becomes of perturbations that did not get there: "bound", see above; "compare",
            as those that did, which is what the script does; or "leave out", where few pairs are left to
            compare with.
        rows: the most perturbations side by side.
        memory_limit: bytes for activations.

    Raises:
        NotEvaluable: fewer than four classes (reduced: five), a network without gradients, or answers
            that are not finite.
    """
    pairs = _pairs(classifier, samples, reduced)
    problem = Problem(
        classifier, samples.inputs, samples.labels, seed, steps, batch, lr, late_lr, early, goal, clip
    )
    found, stats = search(
        problem,
        pairs,
        rows=rows,
        memory_limit=memory_limit,
        progress=spent(progress, "perturbations", len(pairs) * steps * batch),
    )
    worth, bounds = _compared(found, unreached)
    judge = partial(_reduced, null=null) if reduced else _by_pairs
    judged = judge(classifier, worth, bounds)
    p_value = judged.test.p_value
    flagged = p_value is not None and p_value <= level
    reason = None if p_value is not None else f"the perturbations cannot be compared: {judged.test.reason}"
    alone = judge(classifier, worth, {}).test.p_value if bounds else p_value
    settings = {"reduced": reduced, "steps": steps, "batch": batch, "lr": lr, "late_lr": late_lr}
    settings |= {"early": early, "goal": goal, "clip": clip, "unreached": unreached}
    return Finding(
        verdict="not evaluable" if reason else "backdoored" if flagged else "clean",
        reason=reason,
        targets=judged.ranking[:1] if flagged else (),
        ranking=judged.ranking,
        ranked_by=None if reduced else "p-value",
        score=None if judged.test.log10 is None else -judged.test.log10,
        decided_by=TEST,
        tests=(judged.test,),
        columns=columns(classifier.classes, found, worth, None if reduced else judged.log10),
        matrices=() if reduced else matrices(classifier.classes, found),
        artifacts=pictures(classifier, samples, found, judged.ranking[0]),
        caveats=tuple(caveats(classifier, found, FATES[unreached])),
        settings={**settings, "null": null} if reduced else settings,
        facts={
            "evaluations": stats.evaluations,
            "forwards": problem.forwards,
            "oom_retries": stats.oom_retries,
            "pairs": len(pairs),
            "reached": sum(one.reached for one in found.values()),
        },
        not_clean=_not_clean(found, alone, level, short=steps < STEPS),
    )


def _not_clean(found: Mapping[Pair, Found], alone: float | None, level: float, *, short: bool) -> str | None:
    """Why a model may not be called clean although the p-value allows it.

    In clean networks few perturbations get there in the script's steps, which is its own evidence; after
    fewer steps it would be none.

    Args:
        found: what was searched for.
        alone: the p-value of the perturbations that got there, without any bounds.
        level: the false-positive rate asked for.
        short: whether there were fewer steps than the script takes.
    """
    there = sum(one.reached for one in found.values())
    if alone is None and short:
        return (
            f"{there} of {len(found)} perturbations took enough samples to their class, too few to compare "
            "with each other: take more steps"
        )
    if alone is not None and alone <= level:
        return f"the {there} perturbations that got there flag it, and only those that did not speak against"
    free = sum(one.reached and one.norm == 0 for one in found.values())
    return f"{free} pairs of classes need no change at all, and so have no norm" if free else None


def _pairs(classifier: Classifier, samples: Samples, reduced: bool) -> list[Pair]:
    fewest = FEWEST_REDUCED if reduced else FEWEST
    if classifier.classes < fewest:
        raise NotEvaluable(
            f"{count(classifier.classes)} classes: PT-RED fits a Gamma density to what it measures of all "
            f"other classes, and needs at least {fewest}"
        )
    targets = range(classifier.classes)
    if reduced:
        return [(None, target) for target in targets if bool((samples.labels != target).any())]
    sources = samples.labels.unique().tolist()
    return [(source, target) for target in targets for source in sources if source != target]


def _compared(
    found: Mapping[Pair, Found], unreached: Unreached
) -> tuple[dict[Pair, float], dict[Pair, float]]:
    """1 / norm of the perturbations that speak for their classes, and of those that are only bounds."""
    worth = {pair: 1 / one.norm for pair, one in found.items() if one.norm > 0}
    there = {pair: value for pair, value in worth.items() if found[pair].reached or unreached == "compare"}
    if unreached != "bound":
        return there, {}
    return there, {pair: value for pair, value in worth.items() if pair not in there}


def _by_pairs(classifier: Classifier, worth: Mapping[Pair, float], bounds: Mapping[Pair, float]) -> Judged:
    targets, best = range(classifier.classes), largest(worth)
    tables = [
        [[values.get((source, target)) for target in targets] for source in targets]
        for values in (worth, bounds)
    ]
    answer = two_levels(tables[0], tables[1], name=TEST)
    order = sorted(targets, key=lambda target: (answer.log10[target] or 0.0, -best.get(target, 0.0), target))
    return Judged(answer.test, answer.log10, tuple(order))


def _reduced(
    classifier: Classifier, worth: Mapping[Pair, float], bounds: Mapping[Pair, float], null: str
) -> Judged:
    values, targets = largest(worth), range(classifier.classes)
    order = sorted(targets, key=lambda target: (-values.get(target, 0.0), target))
    top = max(values.values(), default=0.0)
    # A bound may be the largest of all; it cannot be what flags, so it counts as no more than that.
    known = [*values.values(), *(min(value, top) for value in bounds.values())]
    if values and len(known) >= FEWEST_REDUCED:
        test = replace(REDUCED[null](known), name=TEST)
    else:
        why = f"{len(values)} perturbations got there, and {FEWEST_REDUCED} have to be compared"
        test = Test(TEST, reason=why)
    return Judged(test, (), tuple(order))


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    checks.whole(options, "steps", "batch", "rows")
    checks.positive(options, "lr", "late_lr")
    if not options.get("early", 0) >= 0:
        raise ValueError(f"early must be a number of steps, got {options['early']!r}")
    if not 0 < options.get("goal", 1) <= 1:
        raise ValueError(f"goal must be in (0, 1], got {options['goal']!r}")
    if options.get("null", "paper") not in REDUCED:
        raise ValueError(unknown("null", options["null"], REDUCED))
    if options.get("unreached", "bound") not in get_args(Unreached):
        raise ValueError(unknown("way with unreached pairs", options["unreached"], get_args(Unreached)))


ABOUT = About(
    title="PT-RED: the smallest additive perturbation of every pair of classes, found with clean images",
    source=(
        "Detection of Backdoors in Trained Classifiers Without Access to the Training Set, IEEE "
        "Transactions on Neural Networks and Learning Systems, 2020"
    ),
    rule=(
        "A perturbation much smaller than those of other classes takes clean images to one class (PT-RED, "
        "IEEE TNNLS 2020)."
    ),
    mark=(
        "A class that a backdoor leads to is near: adding little to any image of a source class takes it "
        "there, where other classes need far more."
    ),
    backdoored=(
        "This scan searched for the smallest change that takes the images of a class to another. {outliers} "
        "{chance}"
    ),
    clean=(
        "This scan searched for the smallest change that takes the images of a class to another, and no "
        "class is much nearer than the others. {chance} Triggers that replace a part of the image are hardly "
        "found so."
    ),
    tests={TEST: ("order statistics", "the other classes of the same model")},
    **WORDS,
)

PT_RED = Detector(
    find=pt_red, version=1, about=ABOUT, needs=frozenset({"samples"}), per_class=100, check=check
)
PT_RED_REDUCED = replace(
    PT_RED,
    about=replace(
        ABOUT,
        title="PT-RED with one perturbation a class, found with few clean images",
        gamma=(TEST,),
        advice={},
    ),
    per_class=2,
    options={"reduced": True},
)
