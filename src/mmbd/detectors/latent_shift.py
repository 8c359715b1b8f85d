"""The latent shift: how far the last features of clean samples are from all being put into one class.

For every class k it is the shortest shift s (L2) with (w_k - w_j) (f_i + s) + b_k - b_j >= 0 for all
samples i and other classes j, where f are the inputs of the last linear layer, w its weights and b
its bias. Of the samples only the one that is farthest from k against j matters, so that there are
K - 1 constraints A s >= d, where d_j is the largest lead of j over k. The shortest such s is found in
closed form: a least-distance problem is one non-negative least squares problem with K - 1 unknowns
(Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.extras import room_for_scipy
from mmbd.base.progress import Progress
from mmbd.detectors.detector import About, Detector
from mmbd.model.classifier import Classifier
from mmbd.model.head import find as find_head
from mmbd.model.samples import Samples
from mmbd.results.finding import Column, Finding, Test

Array = NDArray[np.float64]
FEWEST = 3  # classes: with two there is no second smallest but the other one
SLACK = 1e-6  # by how much a constraint may be missed, as a share of the largest lead

CAVEATS = (
    "The threshold is a choice of this project and was never calibrated: how often clean models pass it "
    "is not known.",
    "A class that is unlike the others, or that has far more training data, can be as near.",
    "Only the last layer was looked at. A trigger need not be what the shortest shift stands for, and the "
    "farthest sample alone decides how long a shift is.",
)

ABOUT = About(
    title="Latent shift: the shortest shift of the last features that puts all clean samples into a class",
    source="own; closed form",
    rule="One class takes all clean samples after a far shorter shift of the last features than the others.",
    mark=(
        "A trigger moves the last features of any input across the border of the target class. Where that "
        "border was drawn near to all samples for it, a short shift does the same."
    ),
    statistics="The shortest shift into each class",
    columns={
        "latent shift": (
            "The latent shift of a class is the length of the shortest shift of the last features that puts "
            "all clean samples into it, as a multiple of the mean length of those features."
        )
    },
    tests={
        "second by smallest": (
            "second smallest shift by the smallest",
            "a threshold of own choice; not calibrated",
        )
    },
)


def find(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    threshold: float = 2.0,
    share: float = 1.0,
) -> Finding:
    """Whether all clean samples are far nearer to one class than to any other, in the last features.

    Args:
        classifier: the model under inspection.
        samples: clean ones; those that the classifier gets wrong are left out.
        level: not used: the threshold decides.
        seed: not used: nothing is random.
        progress: not called: there is little to wait for.
        threshold: backdoored where the second smallest shift is more than so many times the smallest
            (own choice: a class that takes less than half of the way).
        share: of every class's samples that have to be put into each class, in (0, 1]. By default
            all, as the definition says; with less, those that the classifier is surest of are let go.

    Raises:
        ValueError: options out of their range.
        NotEvaluable: no last linear layer can be seen, or fewer than three classes can be reached.
    """
    if not threshold >= 1 or not 0 < share <= 1:
        raise ValueError(f"threshold must be at least 1 and share in (0, 1], got {threshold:g} and {share:g}")
    if classifier.classes < FEWEST:
        raise NotEvaluable(f"{classifier.classes} classes are too few to tell one from the others")
    layer, kept = find_head(classifier), samples.correct
    leads = largest_leads(least_sure(samples.logits[kept], share))
    # The logits are of the features as they are, so that these are needed for their length alone.
    length = float(layer.features(classifier, samples.inputs[kept]).norm(dim=1).mean())
    norms = [float(np.linalg.norm(shift)) for shift in shortest_shifts(layer.weight, leads)]
    return _finding(
        [norm / length if length > 0 else math.nan for norm in norms],
        threshold,
        settings={"threshold": threshold, "share": share},
        facts={"evaluations": 0, "samples_used": int(kept.sum()), "features": layer.weight.shape[1]},
    )


def least_sure(logits: Tensor, share: float) -> Tensor:
    """Of every class's samples the share with the smallest margins, at least one: rows of logits."""
    tops = logits.topk(2).values
    own, order = logits.argmax(1), (tops[:, 0] - tops[:, 1]).argsort(stable=True)
    kept: list[Tensor] = []
    for label in own.unique().tolist():
        members = order[own[order] == label]
        kept.append(members[: math.ceil(share * len(members) - 1e-9)])
    return logits[torch.cat(kept)]


def largest_leads(logits: Tensor) -> Array:
    """(classes, classes): by row k, how far class j leads over k in the sample where it leads most.

    Args:
        logits: (n, classes) of samples.
    """
    values = logits.double().cpu()
    return torch.stack([(values - column[:, None]).amax(0) for column in values.T]).numpy()


def shortest_shifts(weight: Tensor, leads: Array) -> list[Array]:
    """For every class the shortest shift that makes up for all leads over it.

    Args:
        weight: (classes, features) of the last linear layer.
        leads: (classes, classes), see `largest_leads`.

    Returns:
        Shifts in an orthonormal basis of the weights, of the same lengths as in the features; NaN
        for a class that no shift takes all samples to.
    """
    room_for_scipy()
    # The shortest shift lies in the span of the weights: K dimensions will do, however many features.
    basis = torch.linalg.qr(weight.double().cpu().T, mode="r").R.T.numpy()
    found: list[Array] = []
    for label, lead in enumerate(leads):
        others = np.arange(len(lead)) != label
        found.append(shortest(basis[label] - basis[others], lead[others]))
    return found


def shortest(normals: Array, least: Array) -> Array:
    """The shortest x with normals x >= least: (n,) for normals (constraints, n).

    NaN where there is none, or where the solver does not get there.
    """
    from scipy.optimize import nnls

    lengths = np.linalg.norm(normals, axis=1)
    nothing = np.full(normals.shape[1], np.nan)
    if np.any((lengths == 0) & (least > 0)):
        return nothing  # two classes of the same weights
    normals, least, lengths = normals[lengths > 0], least[lengths > 0], lengths[lengths > 0]
    unit = float((least / lengths).max(initial=0.0))  # x is at least so long
    if not unit > 0:
        return np.zeros(len(nothing))
    system = np.vstack([(normals / lengths[:, None]).T, least / lengths / unit])
    goal = np.append(np.zeros(len(nothing)), 1.0)
    try:
        residual = system @ nnls(system, goal)[0] - goal
    except RuntimeError:  # more steps than it allows itself
        return nothing
    if not -residual[-1] > 1e-12:
        return nothing  # the constraints contradict each other
    shift = -unit * residual[:-1] / residual[-1]
    missed = float((least / lengths - normals / lengths[:, None] @ shift).max())
    return shift if missed <= SLACK * max(unit, float(np.linalg.norm(shift))) else nothing


def _finding(
    norms: list[float], threshold: float, settings: dict[str, float], facts: dict[str, int]
) -> Finding:
    values = tuple(norm if math.isfinite(norm) else None for norm in norms)
    ranking = sorted(
        (label for label, value in enumerate(values) if value is not None), key=lambda label: norms[label]
    )
    if len(ranking) < FEWEST:
        raise NotEvaluable(
            f"only {len(ranking)} of {len(norms)} classes can take all samples after any shift of the last "
            "features"
        )
    smallest, second = (norms[label] for label in ranking[:2])
    if not smallest > 0:
        raise NotEvaluable("all samples that the classifier gets right are of one class")
    ratio = second / smallest
    flagged = ratio > threshold
    missing = len(norms) - len(ranking)
    return Finding(
        verdict="backdoored" if flagged else "clean",
        targets=(ranking[0],) if flagged else (),
        ranking=tuple(ranking),
        score=ratio,
        decided_by="second by smallest",
        tests=(Test("second by smallest", statistic=ratio, threshold=threshold),),
        columns=(Column("latent shift", values, "mean feature lengths", "low"),),
        caveats=(
            *((f"{missing} classes no shift reaches; they are left out.",) if missing else ()),
            *CAVEATS,
        ),
        settings=settings,
        facts=facts,
    )


LATENT_SHIFT = Detector(
    find=find, version=2, about=ABOUT, needs=frozenset({"samples"}), kinds=frozenset(), clears=False
)
