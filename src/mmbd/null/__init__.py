"""From the statistics of all classes to a p-value and a verdict: each null is a file and a row."""

from __future__ import annotations

from mmbd.null.bootstrap import BOOTSTRAP
from mmbd.null.combined import COMBINED
from mmbd.null.joint import JOINT
from mmbd.null.null import Evidence, Marked, Measured, Null
from mmbd.null.paper import AUTHORS, PAPER
from mmbd.null.population import POPULATION
from mmbd.null.reference import REFERENCE
from mmbd.null.references import References
from mmbd.null.with_samples import WITH_SAMPLES

# In order of preference: the first that applies decides, of those that may without being chosen.
NULLS: dict[str, Null] = {
    "reference": REFERENCE,
    "with-samples": WITH_SAMPLES,
    "combined": COMBINED,
    "joint": JOINT,
    "population": POPULATION,
    "bootstrap": BOOTSTRAP,
    "paper": PAPER,
    "authors": AUTHORS,
}

__all__ = ["NULLS", "Evidence", "Marked", "Measured", "Null", "References"]
