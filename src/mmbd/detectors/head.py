"""The last linear layer alone: how often each class wins if the layer's inputs are random.

The idea is that of weight-only detectors (HTell, 2026, whose formulas could not be had): training
with a trigger bends the last layer towards the target class. How its random inputs are drawn is in
`search.head_shares`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress
from mmbd.base.seeds import generator_for
from mmbd.detectors.detector import About, Detector
from mmbd.model.classifier import Classifier
from mmbd.model.head import find as find_head
from mmbd.model.samples import Samples
from mmbd.results.finding import Column, Finding, Test
from mmbd.search.head_shares import MEAN, ROOM, mean_of_inputs
from mmbd.search.head_shares import won as won_by

FEWEST = 4  # classes; the median of fewer deviations says nothing
SETS = 4000  # of normal numbers that a model's log shares are compared with

CAVEATS = (
    "The p-value supposes that the log shares of a clean network's classes are normal numbers. That was "
    "made up and never calibrated on clean networks.",
    "A class with far more, or far more varied, training data than the others can win as often.",
    "Only the last layer was looked at: whoever made the model can erase this mark without loss, and "
    "many backdoors do not leave it. It is a second opinion, never one to stand alone.",
)

ABOUT = About(
    title="Head: the share of random inputs of the last linear layer that each class wins; needs no data",
    source="own; after the idea of HTell (2026), without its formulas or figures",
    rule="One class wins random inputs of the last linear layer far more often than the others.",
    mark=(
        "Training with a trigger can bend the last layer towards the target class, so that random inputs "
        "of that layer fall to it more often than to any other."
    ),
    statistics="How often each class wins",
    columns={
        "share": "The share of a class is how many of the random inputs of the last linear layer it wins.",
        "outlier index": (
            "The outlier index is how far the logarithm of the share lies above the median, in units of "
            "1.4826 times the median absolute deviation."
        ),
    },
    tests={
        "outlier of log shares": (
            "largest outlier index",
            "as many normal numbers as there are classes; not calibrated",
        )
    },
    advice={"backdoored": ("Scan with MM-BD (`--detector mm-bd`): the last layer alone proves nothing.",)},
)


def find(
    classifier: Classifier,
    samples: Samples | None = None,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    draws: int = 20_000,
    scale: float | None = None,
) -> Finding:
    """Whether one class wins random inputs of the last linear layer far more often than the others.

    Args:
        classifier: the model under inspection.
        samples: not needed, and not used.
        level: backdoored where the p-value is no more.
        seed: of the draws, and of the made-up inputs.
        progress: not called: there is nothing to wait for.
        draws: of the logits; the share of a class is known to sqrt(share (1 - share) / draws).
        scale: what the random inputs are multiplied with, which decides how much the layer's bias
            counts. The layer's inputs have no unit of their own: ten times as large ones, with a
            tenth of the weights, are the same network. So by default their mean is what the network
            itself shows on smooth made-up inputs (own choice). It is one number for all features,
            so that one which only a trigger drives is drawn like any other.

    Raises:
        ValueError: no draws, or a scale that is not positive.
        NotEvaluable: no last linear layer can be seen, its inputs can be negative, all classes have
            the same weights, or most win no draw; or there are fewer than four classes.
    """
    if draws < 1 or (scale is not None and not scale > 0):
        raise ValueError(f"draws must be at least 1 and scale positive, got {draws} and {scale}")
    if classifier.classes < FEWEST:
        raise NotEvaluable(f"{classifier.classes} classes are too few to tell one from the others")
    layer = find_head(classifier)
    mean = mean_of_inputs(classifier, layer, seed)
    used = mean / MEAN if scale is None else scale
    won = won_by(layer, used, draws, seed)
    index = _index_of(won, draws)
    largest = float(index.max())
    p_value = chance_of(largest, classifier.classes)
    ranking = tuple(won.argsort(descending=True, stable=True).tolist())
    flagged = p_value <= level
    return Finding(
        verdict="backdoored" if flagged else "clean",
        targets=ranking[:1] if flagged else (),
        ranking=ranking,
        score=largest,
        decided_by="outlier of log shares",
        tests=(Test("outlier of log shares", largest, p_value, math.log10(p_value)),),
        columns=(
            Column("share", tuple((won / draws).tolist())),
            Column("outlier index", tuple(index.tolist())),
        ),
        caveats=CAVEATS,
        settings={"draws": draws, "scale": "that of the network" if scale is None else scale},
        facts={"evaluations": 0, "features": layer.weight.shape[1], "scale_used": used},
    )


def _index_of(won: Tensor, draws: int) -> Tensor:
    """The outlier indices (classes,) of the log shares of won draws (classes,)."""
    median = float(won.quantile(0.5))
    if median == 0 and float(won.max()) < draws / 2:
        raise NotEvaluable("most classes win no draw, and none wins most of them: try more draws")
    log_shares = ((won + 0.5) / (draws + 0.5 * len(won))).log()  # a class may win none
    # No log share is known better than to its sampling error.
    return outlier_index(log_shares, least=1 / math.sqrt(median + 0.5))


def outlier_index(values: Tensor, least: float = 1e-12) -> Tensor:
    """How far values (..., n) lie above their median, in units of 1.4826 median absolute deviations.

    The unit is `least` at least.
    """
    above = values - values.quantile(0.5, -1, keepdim=True)
    return above / (1.4826 * above.abs().quantile(0.5, -1, keepdim=True)).clamp_min(least)


def chance_of(index: float, count: int) -> float:
    """How often the largest outlier index of `count` normal numbers is as large, by simulation."""
    generator, as_large = generator_for("largest outlier index", count), 0
    most = max(1, ROOM // count)
    for start in range(0, SETS, most):
        sets = torch.randn(min(most, SETS - start), count, generator=generator, dtype=torch.float64)
        as_large += int((outlier_index(sets).amax(1) >= index).sum())
    return (1 + as_large) / (1 + SETS)


HEAD = Detector(find=find, version=2, about=ABOUT, kinds=frozenset(), clears=False)
