"""The frame around every detector: needs, kinds, options, seeds, limits and what it wraps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import mmbd
from mmbd.base.errors import Failed, NotEvaluable
from mmbd.base.progress import Progress
from mmbd.data.dataset import Dataset
from mmbd.detectors import DETECTORS, About, Detector
from mmbd.detectors.scan import ScanOptions, scan_by
from mmbd.model.samples import Samples
from mmbd.results.finding import Column, Finding, Test

SHAPE, CLASSES = (3, 4, 4), 5


class Network(nn.Module):
    """Five classes, one of each pixel of the first row and the next."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(48, CLASSES)
        with torch.no_grad():
            self.body.weight.zero_()
            self.body.bias.zero_()
            self.body.weight[range(CLASSES), range(CLASSES)] = 10.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.flatten(1))


def classifier() -> mmbd.Classifier:
    return mmbd.Classifier(Network(), input_shape=SHAPE)


def clean(count: int = 4) -> Dataset:
    inputs = torch.zeros(count * CLASSES, 48)
    labels = torch.arange(CLASSES).repeat(count)
    inputs[range(len(labels)), labels] = 1.0
    return Dataset(inputs.reshape(-1, *SHAPE), labels, tuple("abcde"))


def norms(
    classifier: mmbd.Classifier,
    samples: Samples,
    *,
    level: float,
    seed: int,
    progress: Callable[[Progress], None],
    smallest: float = 12.0,
    at: Callable[[int], int] = lambda seed: 3,
) -> Finding:
    """Stands for Neural Cleanse: one mask norm a class, small ones are suspicious."""
    assert not any(parameter.requires_grad for parameter in classifier.model.parameters())
    target, values = at(seed), [95.0 + label for label in range(CLASSES)]
    values[target] = smallest
    progress(Progress("masks", CLASSES, CLASSES, "masks", 0.1))
    flagged = smallest < 50
    index = 4.2 if flagged else 0.3
    return Finding(
        "backdoored" if flagged else "clean",
        targets=(target,) if flagged else (),
        ranking=tuple(sorted(range(CLASSES), key=values.__getitem__)),
        score=index,
        decided_by="anomaly index",
        tests=(Test("anomaly index", statistic=index, threshold=2.0),),
        columns=(Column("mask norm", tuple(values), "pixels", "low"),),
        facts={"evaluations": 10, "samples_used": len(samples.labels)},
    )


ROW = Detector(
    norms, version=4, about=About("norms of masks"), needs=frozenset({"samples", "labels"}), fewest=2
)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "norms", ROW)


@pytest.mark.usefixtures("named")
def test_a_row_is_all_that_a_detector_needs():
    told: list[Progress] = []
    report = mmbd.scan(classifier(), detector="norms", samples=clean(), seed=7, progress=told.append)
    assert (report.detector, report.version, report.verdict, report.targets) == (
        "norms",
        4,
        "backdoored",
        (3,),
    )
    assert report.p_value is None
    assert report.statistics[3] == 12.0
    assert report.finding.ranking[0] == 3
    assert report.finding.facts == {"evaluations": 10, "samples_used": 20, "samples_wrong": 0}
    assert (report.run.seed, report.run.device, report.run.versions["mmbd"]) == (7, "cpu", mmbd.__version__)
    assert mmbd.Report.from_json(report.to_json()) == report
    assert [(one.stage, one.done) for one in told] == [("masks", 5)]
    assert report.exit_code == 1
    assert mmbd.scan(classifier(), detector="norms", samples=clean(), smallest=90.0).exit_code == 0


@pytest.mark.usefixtures("named")
def test_a_detector_that_needs_data_says_so():
    with pytest.raises(ValueError, match=r"norms needs clean samples.*--data CLEAN/"):
        mmbd.scan(classifier(), detector="norms")
    with pytest.raises(ValueError, match="needs the samples' labels"):
        mmbd.scan(classifier(), detector="norms", samples=clean().inputs)
    few = Dataset(clean(1).inputs, clean(1).labels, tuple("abcde"))
    report = mmbd.scan(classifier(), detector="norms", samples=few)
    assert (report.verdict, report.exit_code) == ("not evaluable", 3)
    assert "5 samples for 5 classes" in report.reason
    with pytest.raises(ValueError, match=r"expected samples of shape \(n, 3, 4, 4\)"):
        mmbd.scan(classifier(), detector="norms", samples=(torch.rand(20, 3, 5, 5), clean().labels))


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "given", [lambda data: data, lambda data: (data.inputs.numpy(), data.labels.numpy())]
)
def test_samples_may_come_in_several_forms(given):
    assert mmbd.scan(classifier(), detector="norms", samples=given(clean())).targets == (3,)


def test_samples_that_the_model_gets_wrong_are_reported():
    given = clean()
    labels = given.labels.clone()
    labels[:2] = (labels[:2] + 1) % CLASSES
    report = mmbd.scan(classifier(), detector=ROW, samples=(given.inputs, labels))
    assert report.finding.facts["samples_wrong"] == 2
    assert "The model puts 2 of the 20 clean samples into another class" in report.finding.caveats[-1]
    unlabelled = replace(ROW, needs=frozenset({"samples"}))
    assert (
        "samples_wrong"
        not in mmbd.scan(classifier(), detector=unlabelled, samples=given.inputs).finding.facts
    )


def test_a_row_of_ones_own_needs_no_name():
    report = mmbd.scan(classifier(), detector=ROW, samples=clean())
    assert (report.detector, report.targets) == ("norms of masks", (3,))


@pytest.mark.usefixtures("named")
def test_options_and_names_are_checked_before_anything_runs():
    with pytest.raises(ValueError, match="unknown option 'smalest'; did you mean 'smallest'"):
        mmbd.scan(classifier(), detector="norms", samples=clean(), smalest=1.0)
    with pytest.raises(ValueError, match="unknown detector 'norm'; did you mean 'norms'"):
        mmbd.scan(classifier(), detector="norm")
    for wrong in ({"level": 1.0}, {"seeds": 0}, {"limit": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ScanOptions(**wrong)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"restarts": "abc"}, "restarts must be a whole number, got 'abc'"),
        ({"size": "big"}, "size must be a number"),
        ({"restarts": 0}, "at least 1"),
        ({"method": "slow"}, "unknown method 'slow'"),
        ({"null": "gamma"}, "unknown null 'gamma'"),
        ({"rstarts": 3}, "unknown option 'rstarts'; did you mean 'restarts'"),
    ],
)
def test_values_of_mm_bd_are_checked_before_a_model_is_there(options, words):
    with pytest.raises(ValueError, match=words):
        ScanOptions(options=options)


@pytest.mark.parametrize("shape", [(3, 2, 2), (2, 6), (12,), (3, 2, 2, 2)])
def test_mm_bd_judges_inputs_of_any_kind(shape):
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 6))
    verdict = mmbd.scan(mmbd.Classifier(network, input_shape=shape), null="bootstrap").verdict
    assert verdict in ("clean", "backdoored")


def test_kinds_of_inputs_that_a_detector_does_not_judge():
    sound = mmbd.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(20, 5)), input_shape=(1, 20))
    report = mmbd.scan(sound, detector=ROW, samples=torch.rand(20, 1, 20))
    assert report.verdict == "not evaluable"
    assert "judges image inputs; these are of kind sound" in report.reason


@pytest.mark.usefixtures("named")
def test_seeds_vote_where_there_is_no_p_value():
    def turns(seed: int) -> int:
        return 3 if seed % 3 else 4

    report = mmbd.scan(classifier(), detector="norms", samples=clean(), seeds=3, at=turns)
    assert report.targets == (3,)
    assert report.stability.winners == (4, 3, 3)
    assert report.stability.p_values == (None, None, None)
    assert report.finding.facts["evaluations"] == 30


def told(*findings: Finding) -> Detector:
    """A detector that finds these, one a seed."""

    def find(*_: Any, seed: int, **__: Any) -> Finding:
        return findings[seed]

    return Detector(find, 1, About("told"), kinds=frozenset({"image"}))


def judged(p: float, **more: Any) -> Finding:
    found = p <= 0.05
    return Finding(
        "backdoored" if found else "clean",
        targets=(3,) if found else (),
        tests=(Test("t", p_value=p),),
        decided_by="t",
        score=7.5,
        **more,
    )


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ((judged(1e-6), judged(1e-6), judged(1e-6)), "backdoored"),
        # One seed that saw no logits is enough: there is no verdict on such a network.
        ((judged(1e-6), judged(1e-6), judged(1e-6, no_verdict="no logits")), "not evaluable"),
        # What a seed could not search matters where all together would say clean, and only there.
        ((judged(0.5), judged(0.5), judged(0.5, not_clean="a class unsearched")), "not evaluable"),
        ((judged(0.5), judged(0.5), judged(1e-6, not_clean="a class unsearched")), "not evaluable"),
        ((judged(1e-6), judged(1e-6), judged(0.5, not_clean="a class unsearched")), "backdoored"),
    ],
)
def test_several_seeds_are_held_to_what_each_of_them_saw(findings, verdict):
    report = mmbd.scan(classifier(), detector=told(*findings), seeds=3)
    assert report.verdict == verdict
    if verdict == "backdoored":
        assert report.p_value == pytest.approx(1.5e-6)
        assert report.finding.score == 7.5  # the detector's own, which is no logarithm of its p-value
        assert report.finding.test.log10 == pytest.approx(math.log10(1.5e-6))
    else:
        assert report.finding.score is None
        assert report.reason in ("no logits", "a class unsearched")


@pytest.mark.parametrize(
    ("need", "words"),
    [("references", "needs references: give --reference"), ("shadow models", "shadow_models=")],
)
def test_other_models_that_a_detector_needs_are_asked_for(need, words):
    row = Detector(lambda *_, **__: judged(0.5), 1, About("compares"), needs=frozenset({need}))
    with pytest.raises(ValueError, match=words):
        mmbd.scan(classifier(), detector=row)


def test_a_row_of_the_table_keeps_its_name_and_what_is_no_finding_is_said():
    row = DETECTORS["mm-bd-population"]
    assert mmbd.scan(classifier(), detector=row).detector == "mm-bd-population"
    with pytest.raises(TypeError, match="nothing returned NoneType, expected a Finding"):
        mmbd.scan(classifier(), detector=Detector(lambda *_, **__: None, 1, About("nothing")))  # pyright: ignore
    with pytest.raises(TypeError, match="expected a detector's name or a row"):
        mmbd.scan(classifier(), detector=norms)  # pyright: ignore
    with pytest.raises(ValueError, match="the verdict is 'suspicious', expected one of"):
        Finding("suspicious")  # pyright: ignore
    with pytest.raises(TypeError, match="seeds must be a whole number"):
        mmbd.scan(classifier(), seeds=1.5)  # pyright: ignore


def test_samples_that_a_detector_does_not_need_do_not_spoil_its_verdict():
    found, alone = (
        mmbd.scan(classifier(), detector="mm-bd-population", samples=samples)
        for samples in (torch.rand(2, 3, 9, 9), None)
    )
    assert found.finding == alone.finding


def raising(error: Exception) -> Detector:
    def find(*_: Any, **__: Any) -> Finding:
        raise error

    return Detector(find, 1, About("raises"), kinds=frozenset({"image"}))


def test_what_cannot_be_judged_is_a_report_and_what_fails_is_raised():
    report = mmbd.scan(classifier(), detector=raising(NotEvaluable("no logits")))
    assert (report.verdict, report.reason, report.class_names) == (
        "not evaluable",
        "no logits",
        tuple("01234"),
    )
    with pytest.raises(RuntimeError, match="broken"):
        mmbd.scan(classifier(), detector=raising(RuntimeError("broken")))


def test_the_limit_goes_by_the_detectors_own_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=1.0)  # every look at the clock is a second later
    monkeypatch.setattr("mmbd.detectors.limit.time", SimpleNamespace(perf_counter=lambda: next(clock)))

    def slow(_: Any, __: Any, *, progress: Callable[[Progress], None], **___: Any) -> Finding:
        for done in range(1, 1001):
            progress(Progress("steps", done, 1000, "steps", 0.0))
        raise AssertionError("was not stopped")

    with pytest.raises(Failed, match=r"about .* \(1,000 steps\), the limit is 1 min"):
        mmbd.scan(classifier(), detector=Detector(slow, 1, About("slow")), limit=60.0)


def test_the_classifier_is_left_as_it_was():
    network = Network().train()
    model = mmbd.Classifier(network, input_shape=SHAPE)
    scan_by(model, ScanOptions(detector=ROW), samples=clean())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
