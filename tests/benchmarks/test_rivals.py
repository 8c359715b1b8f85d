"""What the comparison of all detectors counts, against answers worked out by hand."""

from __future__ import annotations

import math

from benchmarks.paper import rivals
from benchmarks.paper.rivals import Judged
from helpers import toy_zoos
from mmbd.evaluation.tables import Result


def answer(score, *, backdoored=True, flagged=False, located=True):
    return Judged("badnet-M" if backdoored else "clean", backdoored, flagged, located, score, True, 1.0, 10)


def result(model, detector, verdict, targets, ranking):
    report = toy_zoos.report().revised(verdict=verdict, targets=targets, ranking=ranking)
    return Result(model, True, "badnet-M", (0,), "g", 0, detector, report)


def test_a_backdoored_model_is_right_by_flag_and_class():
    assert answer(1.0, flagged=True).right
    assert not answer(1.0, flagged=True, located=False).right
    assert not answer(1.0).right
    assert answer(1.0, backdoored=False).right
    assert not answer(1.0, backdoored=False, flagged=True).right


def test_the_tuned_threshold_is_the_best_one():
    clean = [answer(score, backdoored=False) for score in (0.0, 1.0, 4.0)]
    bad = [answer(score) for score in (2.0, 3.0, 5.0)]
    threshold = rivals.tuned([*clean, *bad])
    assert 1.0 < threshold < 2.0  # all three backdoors for one false alarm
    assert [one.right_above(threshold) for one in clean] == [True, True, False]
    assert rivals.tuned([answer(-math.inf), answer(-math.inf, backdoored=False)]) is None


def test_a_wrong_class_is_not_bought_by_a_low_threshold():
    answers = [answer(5.0, located=False), answer(1.0, backdoored=False)]
    assert rivals.tuned(answers) > 5.0
    assert not answers[0].right_above(0.0)


def test_the_union_flags_where_either_does():
    results = [
        result("a", "pt-red", "clean", (), (3, 0)),
        result("a", "abs", "backdoored", (0,), (0, 3)),
        result("b", "pt-red", "clean", (), (0, 3)),
        result("b", "abs", "clean", (), (3, 0)),
    ]
    union = rivals.by_detector(results)["pt-red + abs"]
    assert [one.right for one in union] == [True, False]
    assert [len(part) for part in rivals.rates(union, ["badnet-M"], lambda one: one.right)] == [2, 2]


def test_images_a_class_are_the_papers():
    assert rivals.images_a_class("mm-bd") == 0
    assert rivals.images_a_class("neural-cleanse") == 10
