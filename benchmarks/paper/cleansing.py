"""The trigger that NC-M unlearns: what Neural Cleanse finds for the true target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mmbd
from mmbd.data.dataset import Dataset, split
from mmbd.model.classifier import Classifier
from mmbd.results.report import Report
from mmbd.triggers.mask_pattern import MaskPattern

IMAGES = 10  # a class: Table 1's


@dataclass(frozen=True)
class Found:
    """What Neural Cleanse found for a class; `trigger` is None where nothing took enough samples there."""

    trigger: MaskPattern | None
    said: dict[str, Any]


def cleansed(classifier: Classifier, learn: Dataset, target: int, seed: int) -> Found:
    """The trigger that Neural Cleanse finds for a class, flagged or not, and what it says of it.

    It gets as many of the repair's own samples as it has in Table 1.
    """
    few, _ = split(learn, IMAGES, seed=seed)
    report: Report = mmbd.scan(
        classifier, detector="neural-cleanse", samples=(few.inputs, few.labels), seed=seed
    )
    finding = report.finding
    parts = {item.kind: item.tensor for item in finding.artifacts if item.label == target}
    said = {
        "verdict": finding.verdict,
        "flagged": target in finding.targets,
        "place": finding.ranking.index(target) + 1 if target in finding.ranking else None,
        **{column.name: column.values[target] for column in finding.columns},
    }
    if "trigger mask" not in parts:
        return Found(None, said)
    return Found(MaskPattern(parts["trigger mask"], parts["trigger pattern"]), said)
