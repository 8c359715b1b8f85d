"""A p-value from two kinds of evidence at once: how high a class's margin goes, and how easily.

A backdoor's target class has the largest margin somewhere in the domain, and it is the class that
one faint and one sparse change reach from everywhere (`search.universal_data_free`). In a clean network these
seldom point at the same class by as much. The evidence of a class is its maximum margin times its
universal gain; how far the largest stands out is compared with a population of clean networks, as
for the margins alone (`population`). The table ships as `joint.json`; how it was made and how it
holds on kinds of networks that are not in it is in `benchmarks/study/population.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mmbd.null.population import Population, population, shipped
from mmbd.results.report import PValue


def evidence(statistics: Mapping[int, float], gains: Mapping[int, float]) -> dict[int, float]:
    """Maximum margin times universal gain of every class with both, by class."""
    return {label: value * gains[label] for label, value in statistics.items() if label in gains}


def made_by(margins_by: str, gains_by: str) -> str:
    """What evidence was made by: the settings of both searches."""
    return json.dumps([margins_by, gains_by])


def joint(values: Sequence[float], made_by: str, table: Population | None = None) -> PValue:
    """How rarely a clean network's evidence has a top gap like this one's.

    Args:
        values: the evidence of every class, at least five.
        made_by: see the function of that name; another population's do not compare.
        table: instead of the shipped one.
    """
    return population(values, made_by, table or shipped("joint"), null="joint")
