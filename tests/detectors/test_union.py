"""Several detectors as one: it flags what any of them flags, and keeps apart what each measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mmbd
from helpers.additive_backdoors import CLASSES, TARGET, images, planted
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress
from mmbd.detectors import DETECTORS, About, Detector
from mmbd.detectors.scan import ScanOptions
from mmbd.detectors.union import union
from mmbd.results.finding import Artifact, Column, Finding, Test

SEEN: dict[str, Any] = {}


def by_chance(classifier, samples, *, level, seed, progress=None, p_value=0.5, target=1, shared=0) -> Finding:
    """A made-up detector that decides by a p-value."""
    SEEN["by chance"] = (len(samples.labels), seed, shared)
    progress(Progress("one", 3, 3, "gradient evaluations", 0.0))
    flagged = p_value <= level
    return Finding(
        "backdoored" if flagged else "clean",
        targets=(target,) if flagged else (),
        ranking=(target, *(label for label in range(CLASSES) if label != target)),
        decided_by="test",
        tests=(Test("test", p_value=p_value),),
        columns=(Column("number", (1.0,) * CLASSES),),
        artifacts=(Artifact("trigger pattern", target, torch.zeros(1, 6, 6)),),
        settings={"p_value": p_value},
        facts={"evaluations": 3, "samples_used": len(samples.labels)},
    )


def by_threshold(
    classifier, samples, *, level, seed, progress=None, statistic=1.0, error="", shared=0, steps=5
) -> Finding:
    """A made-up detector that decides by a threshold of 2, for the class 3."""
    SEEN["by threshold"] = (len(samples.labels), seed, shared)
    if error:
        raise NotEvaluable(error)
    progress(Progress("two", 4, 4, "gradient evaluations", 0.0))
    flagged = statistic > 2
    return Finding(
        "backdoored" if flagged else "clean",
        targets=(3,) if flagged else (),
        ranking=(3, 0, 1, 2, 4),
        decided_by="test",
        tests=(Test("test", statistic=statistic, threshold=2.0),),
        columns=(Column("number", (2.0,) * CLASSES, "pixels", "low"),),
        artifacts=(
            Artifact("trigger mask", 3, torch.zeros(6, 6)),
            Artifact("trigger pattern", 3, torch.ones(1, 6, 6)),
        ),
        caveats=("It is coarse.",),
        facts={"evaluations": 4, "reached": 5},
    )


def at_most(options) -> None:
    if options.get("statistic", 0) < 0:
        raise ValueError("statistic must be at least 0")


FIRST = Detector(by_chance, 1, About("One"), needs=frozenset({"samples"}), per_class=4)
SECOND = Detector(
    by_threshold, 2, About("Two"), needs=frozenset({"samples"}), per_class=2, fewest=2, check=at_most
)
EITHER = union({"one": FIRST, "two": SECOND}, title="One or two")


def asked(**options: Any) -> Finding:
    return mmbd.scan(planted(0.0), detector=EITHER, samples=images(6), **options).finding


@pytest.mark.parametrize(
    ("options", "targets", "score"),
    [
        ({}, (), 0.5),
        ({"p_value": 0.0025}, (1,), 2.0),
        ({"statistic": 5.0}, (3,), 2.5),
        ({"p_value": 0.0025, "statistic": 5.0}, (3, 1), 2.5),
        ({"p_value": 0.0025, "statistic": 2.5, "target": 3}, (3,), 2.0),
    ],
)
def test_it_flags_what_any_of_them_flags(options, targets, score):
    finding = asked(**options)
    assert finding.verdict == ("backdoored" if targets else "clean")
    assert finding.targets == targets
    assert finding.ranking[: len(targets)] == targets
    assert finding.score == pytest.approx(score)
    assert (finding.test.statistic, finding.test.threshold) == (finding.score, 1.0)


def test_what_each_measured_keeps_its_name():
    finding = asked(statistic=5.0)
    assert [one.name for one in finding.tests] == ["any", "one: test", "two: test"]
    assert [one.name for one in finding.columns] == ["one: number", "two: number"]
    assert finding.ranked_by == "two: number"
    assert finding.caveats == ("two: It is coarse.",)
    assert finding.settings == {"one": {"p_value": 0.5}, "two": {}}
    assert finding.facts["evaluations"] == 7
    assert finding.facts["two: reached"] == 5


def test_each_gets_as_many_samples_as_it_takes_alone_and_the_options_that_it_knows():
    asked(seed=9, shared=7, steps=3)
    assert SEEN == {"by chance": (4 * CLASSES, 9, 7), "by threshold": (2 * CLASSES, 9, 7)}
    assert (EITHER.per_class, EITHER.fewest, EITHER.version) == (4, 2, 3)


def test_options_are_those_of_any_of_them_and_are_checked():
    with pytest.raises(ValueError, match="unknown option 'stepz'; did you mean 'steps'"):
        ScanOptions(EITHER, options={"stepz": 1})
    with pytest.raises(ValueError, match="statistic must be"):
        ScanOptions(EITHER, options={"statistic": -1})


def test_one_that_cannot_judge_leaves_the_model_open_unless_another_flags_it():
    finding = asked(error="too small")
    assert finding.verdict == "not evaluable"
    assert finding.reason == "two: too small"
    assert finding.score is None
    flagged = asked(error="too small", p_value=0.001)
    assert flagged.targets == (1,)
    assert "two cannot judge this model: too small" in flagged.caveats


def test_of_two_pictures_of_one_kind_that_with_a_mask_keeps_its_name():
    finding = asked(p_value=1e-9, statistic=3.0, target=3)
    assert finding.targets == (3,)
    kinds = {one.kind: float(one.tensor.max()) for one in finding.artifacts}
    assert kinds == {"trigger mask": 0.0, "trigger pattern": 1.0, "one: trigger pattern": 0.0}


def test_progress_goes_on_from_one_to_the_next():
    told: list[int] = []
    asked(progress=lambda step: told.append(step.done))
    assert told == [3, 7]


def test_pt_red_and_neural_cleanse_together():
    row = union({name: DETECTORS[name] for name in ("pt-red", "neural-cleanse")}, title="Either")
    assert row.per_class == 100
    report = mmbd.scan(planted(30.0), detector=row, samples=images(20), steps=60)
    assert TARGET in report.targets
    assert report.finding.facts["samples_used"] == 20 * CLASSES
    assert {one.name for one in report.finding.tests} == {
        "any",
        "pt-red: order statistics",
        "neural-cleanse: MAD",
    }
    assert mmbd.Report.from_json(report.to_json()) == report
