"""Detectors, a file and a row each: they say whether and where a classifier is backdoored."""

from __future__ import annotations

from dataclasses import replace

from mmbd.detectors.detector import About, Detector
from mmbd.detectors.head import HEAD
from mmbd.detectors.latent_shift import LATENT_SHIFT
from mmbd.detectors.meta.meta import META
from mmbd.detectors.mm_bd.mm_bd import MM_BD
from mmbd.detectors.neural_cleanse import NEURAL_CLEANSE
from mmbd.detectors.source_target_map import SOURCE_TARGET_MAP

DETECTORS: dict[str, Detector] = {
    "mm-bd": MM_BD,
    "mm-bd-population": replace(MM_BD, options={"universal": False}),
    "mm-bd-bootstrap": replace(MM_BD, options={"null": "bootstrap"}),
    "mm-bd-paper": replace(MM_BD, options={"method": "paper", "null": "paper"}),
    "mm-bd-authors": replace(MM_BD, options={"method": "paper", "null": "authors", "constraint": "clamp"}),
    "neural-cleanse": NEURAL_CLEANSE,
    "meta": META,
    "head": HEAD,
    "source-target-map": SOURCE_TARGET_MAP,
    "latent-shift": LATENT_SHIFT,
}

__all__ = ["DETECTORS", "About", "Detector"]
