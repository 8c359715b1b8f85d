"""Detectors, a file and a row each: they say whether and where a classifier is backdoored."""

from __future__ import annotations

from dataclasses import replace

from mmbd.detectors.abs.abs import ABS
from mmbd.detectors.data_free_tnd import DF_TND
from mmbd.detectors.data_limited_tnd import DL_TND
from mmbd.detectors.detector import About, Detector
from mmbd.detectors.head import HEAD
from mmbd.detectors.latent_shift import LATENT_SHIFT
from mmbd.detectors.local_patch import LOCAL_PATCH
from mmbd.detectors.meta.meta import META
from mmbd.detectors.mm_bd.mm_bd import MM_BD
from mmbd.detectors.neural_cleanse import NEURAL_CLEANSE
from mmbd.detectors.pt_red import PT_RED, PT_RED_REDUCED
from mmbd.detectors.source_target_map import SOURCE_TARGET_MAP
from mmbd.detectors.tabor import TABOR
from mmbd.detectors.union import union

ALONE = replace(MM_BD, takes_samples=False)  # from the model alone, whatever there is beside it

DETECTORS: dict[str, Detector] = {
    "mm-bd": MM_BD,
    "mm-bd-population": replace(ALONE, options={"universal": False}),
    "mm-bd-bootstrap": replace(ALONE, options={"null": "bootstrap"}),
    "mm-bd-paper": replace(ALONE, options={"method": "paper", "null": "paper"}),
    "mm-bd-authors": replace(ALONE, options={"method": "paper", "null": "authors", "constraint": "clamp"}),
    # The rivals of the paper's table 1.
    "neural-cleanse": NEURAL_CLEANSE,
    "tabor": TABOR,
    "abs": ABS,
    "meta": META,
    "tnd": DL_TND,
    "df-tnd": DF_TND,
    "pt-red": PT_RED,
    "pt-red-reduced": PT_RED_REDUCED,
    "pt-red-abs": union({"pt-red": PT_RED, "abs": ABS}, title="PT-RED and ABS: flagged where either flags"),
    # Second opinions.
    "head": HEAD,
    "source-target-map": SOURCE_TARGET_MAP,
    "latent-shift": LATENT_SHIFT,
    "local-patch": LOCAL_PATCH,
}

__all__ = ["DETECTORS", "About", "Detector"]
