"""Neural Cleanse: the smallest mask and pattern that take all images to a class (Wang et al. 2019).

A backdoor's target class needs a much smaller mask than all others, so that its norm is an outlier on
the low side. Optimiser and schedule are those of the authors' script for GTSRB. It works in [0, 255]
with the pixels of a generator; here it is the domain's own box, and one pass over the samples given.
"""

from __future__ import annotations

from functools import partial

from mmbd.base.progress import ProgressCallback, spent
from mmbd.detectors.detector import About, Detector
from mmbd.detectors.reversed_triggers import TRIGGER_WORDS, check, finding, need_classes
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Finding
from mmbd.search.cost_schedule import CostSchedule
from mmbd.search.mask_pattern import Problem, search


def neural_cleanse(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    steps: int = 1000,
    batch: int = 32,
    lr: float = 0.1,
    goal: float = 0.99,
    patience: int = 5,
    cost: float = 1e-3,
    multiplier: float = 2.0,
    early_stop: float | None = 1.0,
    threshold: float = 2.0,
    rows: int | None = None,
    memory_limit: int | None = None,
) -> Finding:
    """Search every class's smallest trigger, and compare their norms by the MAD index, low side only.

    A class that no trigger was found for is marked and left out of the comparison.

    Args:
        classifier: the model under inspection.
        samples: clean ones of all classes; the paper takes 10 a class.
        level: not used: the decision is by `threshold`.
        seed: of masks, patterns and the order of the samples.
        progress: called after every step.
        steps: the most passes over the samples (the script: 1000 of 31 minibatches each).
        batch: samples a minibatch (the script: 32).
        lr: Adam's; its betas are 0.5 and 0.9 (the script).
        goal: the share of samples that a trigger has to take to its class (the script: 0.99).
        patience: passes in a row that change the cost (the script's example: 5).
        cost: the first cost of the mask's L1 norm other than zero (the script: 0.001).
        multiplier: of the cost (the script's example: 2).
        early_stop: a norm below this share of the smallest one counts as progress, without which a
            search ends early (the script's example: 1); None to take all steps.
        threshold: of the MAD index (the paper: 2).
        rows: the most classes side by side.
        memory_limit: bytes for activations.

    Raises:
        NotEvaluable: fewer than five classes, or a network without gradients.
    """
    need_classes(classifier)
    schedule = partial(
        CostSchedule, steps, goal, patience, cost, multiplier, early_stop or 0.0, early_stop is not None
    )
    problem = Problem(classifier, samples, batch, lr)
    found, stats = search(
        problem,
        lambda _: schedule(),
        seed=seed,
        rows=rows,
        memory_limit=memory_limit,
        progress=spent(progress, "triggers", classifier.classes * steps * len(samples.inputs)),
    )
    settings = {"steps": steps, "batch": batch, "lr": lr, "goal": goal, "patience": patience, "cost": cost}
    settings |= {"multiplier": multiplier, "early_stop": early_stop}
    return finding(classifier, samples, found, stats, threshold=threshold, settings=settings)


ABOUT = About(
    title="Neural Cleanse: the smallest trigger of every class, found with clean images",
    source="Neural Cleanse, IEEE Symposium on Security and Privacy, 2019",
    rule=(
        "A trigger much smaller than those of other classes takes clean images to one class (Neural "
        "Cleanse, IEEE S&P 2019)."
    ),
    mark=(
        "A class that a backdoor leads to is near: a small patch is enough to take any image there, where "
        "other classes need far more of the image."
    ),
    backdoored="This scan searched for the smallest such patch, class by class. {outliers} {chance}",
    clean=(
        "This scan searched for the smallest patch that takes clean images to a class, class by class, and "
        "none is much smaller than the others. {chance} Triggers that are no patches, or that work on "
        "images of one class alone, are not found so."
    ),
    **TRIGGER_WORDS,
)

NEURAL_CLEANSE = Detector(
    find=neural_cleanse, version=1, about=ABOUT, needs=frozenset({"samples"}), per_class=10, check=check
)
