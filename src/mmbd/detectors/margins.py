"""MM-BD itself as a detector among others (paper, sections 5.1 and 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmbd.detectors.detector import Detection
from mmbd.detectors.mm_bd.scan import scan
from mmbd.model.classifier import Classifier
from mmbd.null.joint import evidence


def margins(classifier: Classifier, *, level: float = 0.05, seed: int = 0, **options: Any) -> Detection:
    """Scan by `mmbd.scan`; `options` such as method and null go there.

    The score is -log10 of the deciding p-value, so that it orders models beyond what a float p
    can tell apart.
    """
    report = scan(classifier, level=level, seed=seed, **options)
    decided = next((entry for entry in report.p_values if entry.null == report.null), None)
    log10 = None if decided is None else decided.log10
    evaluable = report.verdict != "not evaluable"
    known = _valid(report.deciding)
    top = max(known, key=known.__getitem__, default=None)
    return Detection(
        flagged=report.verdict == "backdoored" if evaluable else None,
        targets=report.targets or (() if top is None else (top,)),
        score=-log10 if evaluable and log10 is not None else None,
        p_value=report.p_value,
        statistics=report.statistics,
        reason=report.reason,
        seconds=0.0 if report.run is None else report.run.seconds,
        details={"p_values": {entry.null: entry.value for entry in report.p_values}, "gains": report.gains},
    )


def largest(
    statistics: Sequence[float | None], gains: Sequence[float | None] | None, null: str | None
) -> int | None:
    """The class that a null speaks of: of the largest evidence for "joint", else margin."""
    values = _valid(statistics)
    if null == "joint":
        values = evidence(values, _valid(gains or ()))
    return max(values, key=values.__getitem__, default=None)


def _valid(values: Sequence[float | None]) -> dict[int, float]:
    return {label: value for label, value in enumerate(values) if value is not None}
