"""Detectors, one file each: they say whether and where a classifier is backdoored."""

from __future__ import annotations

from functools import partial

from mmbd.detectors.detector import Detection, Detector
from mmbd.detectors.margins import margins

DETECTORS: dict[str, Detector] = {
    "mm-bd": margins,
    "mm-bd-population": partial(margins, universal=False),
    "mm-bd-bootstrap": partial(margins, null="bootstrap"),
    "mm-bd-paper": partial(margins, method="paper", null="paper"),
    "mm-bd-authors": partial(margins, method="paper", null="authors", constraint="clamp"),
}

__all__ = ["DETECTORS", "Detection", "Detector", "margins"]
