"""A small detector that needs clean samples and decides by a threshold, as a row for DETECTORS."""

from __future__ import annotations

from typing import Any

import torch

from mmbd.base.progress import Progress
from mmbd.detectors import About, Detector
from mmbd.results.finding import Artifact, Column, Finding, Test


def counting(
    classifier, samples, *, level: float, seed: int, progress: Any = None, threshold: float = 0.5
) -> Finding:
    """Flags the class that more than `threshold` of the clean samples are taken to."""
    shares = samples.logits.argmax(1).bincount(minlength=classifier.classes).double()
    shares = shares / shares.sum()
    order = tuple(int(label) for label in shares.argsort(descending=True, stable=True))
    flagged = float(shares[order[0]]) > threshold
    if progress is not None:
        progress(Progress("counting", 1, 1, "steps", 0.1))
    mask = torch.zeros(classifier.domain.shape[1:])
    mask[:2, :2] = 1
    return Finding(
        verdict="backdoored" if flagged else "clean",
        targets=order[:1] if flagged else (),
        ranking=order,
        score=float(shares.max()),
        decided_by="majority",
        tests=(Test("majority", statistic=float(shares.max()), threshold=threshold),),
        columns=(Column("share of samples", tuple(shares.tolist())),),
        artifacts=(
            Artifact("trigger mask", order[0], mask),
            Artifact("trigger pattern", order[0], torch.ones(classifier.domain.shape)),
        ),
        settings={"threshold": threshold},
        facts={"samples_used": len(samples.labels)},
    )


COUNTING = Detector(
    find=counting,
    version=1,
    about=About("Counting: the share of clean samples that each class gets"),
    needs=frozenset({"samples"}),
    fewest=2,
)
