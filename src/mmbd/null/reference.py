"""Conformal p-values from the statistics of clean reference models of the same domain.

No distribution is assumed: if the model under test and the references are exchangeable, the rank
of its statistic among theirs is uniform. This also sees all-to-all attacks, where every class is a
target and a model's own statistics hold no null (paper, section 7.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmbd.null.null import Evidence, Null
from mmbd.results.finding import Test


def _values(evidence: Evidence) -> Mapping[int, float] | None:
    return None if evidence.compared is None else evidence.compared[0].own


def _test(_: Sequence[float], evidence: Evidence) -> Test:
    assert evidence.compared is not None
    assert evidence.references is not None
    return evidence.references.model_p_value(*evidence.compared, evidence.level)


def _targets(evidence: Evidence) -> tuple[int, ...]:
    assert evidence.compared is not None
    return evidence.compared[0].exceeding(evidence.level)


REFERENCE = Null(
    title="reference",
    basis="your own reference models, by class where they have the same",
    values=_values,
    test=_test,
    by_default=True,
    targets=_targets,
    column="distance from the references",
    fewest=0,
)
