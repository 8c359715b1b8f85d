"""TABOR: Neural Cleanse's search with regularisers for triggers as attackers make them (Guo et al. 2020).

The authors released no code that could be used. The objective is that of the paper's formulas as three
re-implementations have them, and its weights are theirs; see `tabor` for where these differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmbd.base.choose import unknown
from mmbd.base.progress import ProgressCallback, spent
from mmbd.detectors import reversed_triggers
from mmbd.detectors.detector import About, Detector
from mmbd.detectors.reversed_triggers import SCORES, TRIGGER_WORDS, Score, finding, need_classes
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Finding
from mmbd.search.cost_schedule import CostSchedule
from mmbd.search.mask_pattern import search
from mmbd.search.regularised import RegularisedProblem, RegularisedSchedule

WEIGHTS = (1e-6, 1e-5, 1e-7, 1e-8, 0.0, 1e-2)
BLANKED = 4  # the place of R3's weight


def tabor(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    steps: int = 200,
    batch: int = 32,
    lr: float = 0.1,
    goal: float = 0.99,
    patience: int | None = 5,
    cost: float = 1e-3,
    multiplier: float = 2.0,
    early_stop: float | None = 1.0,
    weights: Sequence[float] = WEIGHTS,
    adaptive: bool = False,
    score: Score = "norm",
    threshold: float = 2.0,
    rows: int | None = None,
    memory_limit: int | None = None,
) -> Finding:
    """Search every class's trigger with TABOR's objective, and compare the masks' norms, low side only.

    The paper judges triggers by a quality of its own, from the logarithms of their sparsity and
    smoothness and from several accuracies. Its formula could not be had; like all re-implementations,
    this one takes the L1 norm of the mask and the MAD index (`score="norm"`), or that norm's logarithm,
    the part of the quality that is known. A class that no trigger was found for is left out.

    Re-implementations differ in how they search. UsmannK's takes Adam at 0.001 for 200 passes over a
    whole training set, without a cost of the mask's norm; on a hundred samples that is far too short a
    way for a mask to become small, as a step changes no value by more than the learning rate
    (`steps=200, lr=0.001, patience=None, cost=0`). TrojanZoo's takes 0.1 for 10 passes over a whole
    training set, and a cost of 0.001 that stays (`patience=None`): with few samples masks of all classes
    then keep hundreds of pixels, and their spread hides the target's. So the cost follows Neural
    Cleanse's rules by default, whose search this one extends (own choice). The size of masks and unused
    patterns is L1 norm plus Euclidean norm: with squares, as two of three re-implementations have it,
    bright unused pixels drive masks to one (`docs/rivals.md`).

    Args:
        classifier: the model under inspection.
        samples: clean ones of all classes; the paper takes 10 a class.
        level: not used: the decision is by `threshold`.
        seed: of masks, patterns and the order of the samples.
        progress: called after every step.
        steps: the most passes over the samples (UsmannK: 200; the paper: 500).
        batch: samples a minibatch (UsmannK: 32).
        lr: Adam's (TrojanZoo: 0.1); its betas are 0.5 and 0.9 (both).
        goal: the share of samples that a trigger has to take to its class (TrojanZoo: 0.99).
        patience: passes in a row that change the cost (Neural Cleanse: 5); None for a cost that stays.
        cost: of the mask's L1 norm, beside R1 (TrojanZoo: 0.001; UsmannK: 0).
        multiplier: of the cost (Neural Cleanse: 2).
        early_stop: see `neural_cleanse`.
        weights: of R1 of the mask and of the unused pattern, of R2 of the two, of R3 (samples without
            the trigger's region stay in their classes) and of R4 (the trigger alone is of the class).
            They belong to pixels in 0 to 255, whatever the model takes (both re-implementations;
            TrojanZoo applies them to pixels in 0 to 1, where they do next to nothing).
        adaptive: start each weight that is not 0 at 1e-4; double those of terms that stay large after
            passes of more than 95 % success, halve all after passes of less than 90 % (another
            re-implementation, after an idea of the paper).
        score: what the index is taken of, "norm" or "log norm".
        threshold: of the MAD index (the re-implementations: 2).
        rows: the most classes side by side.
        memory_limit: bytes for activations.

    Raises:
        NotEvaluable: fewer than five classes, or a network without gradients.
        ValueError: a weight of R3 for samples without labels.
    """
    need_classes(classifier)
    weights = tuple(float(weight) for weight in weights)
    blank = weights[BLANKED] != 0
    if blank and samples.own:
        raise ValueError("R3, the fifth weight of tabor, needs the samples' labels: samples=(inputs, labels)")

    def costs() -> CostSchedule:
        if patience is None:
            return CostSchedule.fixed(steps, goal, cost)
        stop = early_stop is not None
        return CostSchedule(steps, goal, patience, cost, multiplier, early_stop or 0.0, stop)

    found, stats = search(
        RegularisedProblem(classifier, samples, batch, lr, blank=blank, tell=adaptive),
        lambda _: RegularisedSchedule(costs(), weights, adaptive),
        seed=seed,
        rows=rows,
        memory_limit=memory_limit,
        progress=spent(progress, "triggers", classifier.classes * steps * len(samples.inputs)),
    )
    settings: dict[str, Any] = {"steps": steps, "batch": batch, "lr": lr, "goal": goal, "patience": patience}
    settings |= {"cost": cost, "multiplier": multiplier, "early_stop": early_stop}
    settings |= {"weights": list(weights), "adaptive": adaptive, "score": score}
    return finding(classifier, samples, found, stats, threshold=threshold, settings=settings, score=score)


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    given = {name: value for name, value in options.items() if name != "patience" or value is not None}
    if given.pop("score", "norm") not in SCORES:
        raise ValueError(unknown("score", options["score"], SCORES))
    cost = given.pop("cost", 0)
    if not cost >= 0:
        raise ValueError(f"cost must be at least 0, got {cost!r}")
    reversed_triggers.check(given)
    weights: Any = given.get("weights", WEIGHTS)
    numbers = isinstance(weights, list | tuple) and all(isinstance(one, int | float) for one in weights)
    if not numbers or len(weights) != len(WEIGHTS) or not all(0 <= one < float("inf") for one in weights):
        raise ValueError(f"weights must be six numbers from 0, got {weights!r}")


ABOUT = About(
    title="TABOR: the smallest trigger of every class, kept compact and plain, found with clean images",
    source="TABOR, IEEE International Conference on Data Mining, 2020",
    rule=(
        "A trigger much smaller than those of other classes takes clean images to one class (TABOR, ICDM "
        "2020)."
    ),
    mark=(
        "A class that a backdoor leads to is near: a small, connected patch is enough to take any image "
        "there, where other classes need far more of the image."
    ),
    backdoored=(
        "This scan searched for the smallest such patch, class by class, and favoured connected ones that "
        "work without the rest of the image. {outliers} {chance}"
    ),
    clean=(
        "This scan searched for a small connected patch that takes clean images to a class, class by "
        "class, and none is much smaller than the others. {chance} Triggers that are no patches, or that "
        "work on images of one class alone, are not found so."
    ),
    **TRIGGER_WORDS,
)

TABOR = Detector(find=tabor, version=2, about=ABOUT, needs=frozenset({"samples"}), per_class=10, check=check)
