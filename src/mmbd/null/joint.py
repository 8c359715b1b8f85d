"""A p-value from two kinds of evidence at once: how high a class's margin goes, and how easily.

A backdoor's target class has the largest margin somewhere in the domain, and it is the class that
one added and one sparse change reach from everywhere (`search.universal_data_free`). In a clean
network these seldom point at the same class by as much. The evidence of a class is its maximum margin
times its universal-perturbation gain; how far the largest stands out is compared with a population of
clean networks, as for the margins alone (`population`). The table ships as `joint.json`; how it was
made and how it holds on kinds of networks that are not in it is in `benchmarks/study/population.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmbd.null.null import ONLY_IMAGES, Evidence, Null
from mmbd.null.population import Population, population, shipped
from mmbd.null.settings import joint_key
from mmbd.results.finding import Test


def times(statistics: Mapping[int, float], gains: Mapping[int, float]) -> dict[int, float]:
    """Maximum margin times universal-perturbation gain of every class with both, by class."""
    return {label: value * gains[label] for label, value in statistics.items() if label in gains}


def joint(values: Sequence[float], settings_key: str, table: Population | None = None) -> Test:
    """How rarely a clean network's evidence has a top gap like this one's.

    Args:
        values: the evidence of every class, at least five.
        settings_key: of both searches (`null.joint_key`); another population's do not compare.
        table: instead of the shipped one.
    """
    return population(values, settings_key, table or shipped("joint"), null="joint")


def _values(evidence: Evidence) -> Mapping[int, float] | str:
    if evidence.kind != "image":
        return ONLY_IMAGES
    if evidence.gains is None:
        return evidence.without_gains
    return times(evidence.tabled.by_class, evidence.gains.by_class)


def _test(values: Sequence[float], evidence: Evidence) -> Test:
    assert evidence.gains is not None
    return joint(values, joint_key(evidence.tabled.settings_key, evidence.gains.settings_key))


JOINT = Null(
    title="joint",
    basis="clean networks of many kinds, by margin and universal-perturbation gain together",
    values=_values,
    test=_test,
    by_default=True,
    column="margin times gain",
)
