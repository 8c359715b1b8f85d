"""Parts of a finding that contradict each other are refused, and what is allowed is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmbd.model.info import unread
from mmbd.results.finding import Artifact, Column, Finding, Matrix, Test
from mmbd.results.report import Report

MAD = Test("MAD", statistic=3.0, threshold=2.0)
NORMS = Column("mask norm", (1.0, 2.0, None), "pixels", "low")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"verdict": "clean", "targets": (1,)}, r"the verdict is 'clean' with targets \(1,\)"),
        ({"verdict": "clean", "reason": "why"}, "with the reason 'why'"),
        ({"verdict": "not evaluable"}, "with the reason None"),
        ({"verdict": "clean", "decided_by": "MAD"}, "'MAD' decides but is not among the tests"),
        ({"verdict": "clean", "ranked_by": "index"}, "ranked by 'index', which is no column"),
        ({"verdict": "clean", "ranking": (1, 1)}, "ranked twice"),
        ({"verdict": "clean", "tests": (MAD, MAD)}, "two of the tests have one name"),
        ({"verdict": "clean", "columns": (NORMS, NORMS)}, "two of the columns have one name"),
    ],
)
def test_what_contradicts_itself(parts: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        Finding(**parts)


def wrapped(**parts: Any) -> Report:
    return Report("own", 1, 0.05, ("a", "b", "c"), Finding("backdoored", **parts), unread("m.pt"))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"targets": (3,)}, r"targets \[3\] are not all among 3 classes"),
        ({"ranking": (0, 5)}, "ranking"),
        ({"traces": {7: (1.0,)}}, "traces"),
        ({"artifacts": (Artifact("mask", -1, torch.zeros(2)),)}, "artifacts"),
        ({"columns": (Column("norm", (1.0,)),)}, "1 values of 'norm' for 3 classes"),
        ({"matrices": (Matrix("pairs", ((1.0, 2.0, 3.0),) * 2),)}, "'pairs' is not 3 x 3"),
    ],
)
def test_what_does_not_fit_the_model(parts: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        wrapped(**parts)


def test_a_flag_without_a_class_and_a_matrix_and_a_threshold_are_allowed():
    report = wrapped(
        tests=(MAD,),
        decided_by="MAD",
        columns=(NORMS,),
        matrices=(Matrix("success", ((None, 1.0, 0.0),) * 3),),
        ranking=(0, 1),
    )
    assert (report.targets, report.p_value, report.exit_code) == ((), None, 1)
    assert report.statistics == (1.0, 2.0, None)
    assert Report.from_json(report.to_json()) == report


def test_a_test_applies_where_it_has_a_p_value_or_a_threshold():
    assert MAD.answered
    assert Test("joint", p_value=0.5, log10=-0.3).answered
    assert not Test("joint", reason="too few classes").answered
    assert not Test("MAD", statistic=3.0).answered
