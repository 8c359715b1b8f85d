"""ABS on networks with and without a neuron of a backdoor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import mmbd
from helpers import neuron_networks
from helpers.neuron_networks import TARGET, band_samples, patched, tinted
from mmbd.base.errors import NotEvaluable
from mmbd.detectors.abs.abs import ABS
from mmbd.detectors.abs.neurons import Neuron
from mmbd.detectors.abs.result import Trigger, finding
from mmbd.model.activations import Activation
from mmbd.model.classifier import Classifier
from mmbd.triggers.mask_pattern import MaskPattern

QUICK = {"steps": 150, "size": 9, "filters": False}


def scanned(clf: Classifier, samples=None, **options) -> mmbd.Report:
    samples = band_samples(clf) if samples is None else samples
    return mmbd.scan(clf, detector=ABS, samples=samples, **{**QUICK, **options})


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU()])
def test_a_planted_patch_is_found_with_its_class_and_works(activation):
    clf = patched(activation=activation)
    report = scanned(clf)
    found = report.finding
    assert (found.verdict, found.targets, found.ranking[0]) == ("backdoored", (TARGET,), TARGET)
    assert found.score == found.test.statistic > found.test.threshold == 0.8
    assert found.column("REASR").values[TARGET] == found.score
    assert found.column("stimulation").values[TARGET] > 100
    parts = {part.kind: part.tensor for part in found.artifacts if part.label == TARGET}
    trigger = MaskPattern(parts["trigger mask"], parts["trigger pattern"])
    others = band_samples(clf, 6, seed=1)
    images = others.inputs[others.labels != TARGET]
    assert float((clf(trigger(images)).argmax(1) == TARGET).double().mean()) > 0.9
    assert int(clf(parts["triggered sample"][None]).argmax()) == TARGET


def test_its_clean_twin_is_clean():
    found = scanned(patched(0.0)).finding
    assert (found.verdict, found.targets) == ("clean", ())
    assert found.score < 0.5


def test_a_tint_is_found_by_filters_and_not_by_patches():
    options = {"filters": True, "filter_lr": 0.02, "size": 1}
    found = scanned(tinted(), **options).finding
    assert found.targets == (TARGET,)
    told = found.facts["triggers"].split("; ")
    assert "patch: 0.000 (the search failed)" in told[0]
    assert told[1].startswith(f"1[1] to class {TARGET}, rise ")
    assert told[1].endswith("filter: 1.000")
    assert {part.kind for part in found.artifacts if part.label == TARGET} == {"triggered sample"}
    assert scanned(tinted(), size=1).finding.verdict == "clean"
    assert scanned(tinted(0.0), **options).finding.verdict == "clean"


def test_a_class_s_own_samples_are_no_success():
    """The neuron's class gets its own images right, and a trigger that does nothing has no success."""
    clf = patched()
    samples = band_samples(clf)
    found = scanned(clf, samples, steps=1, lr=1e-9, size=1).finding
    assert TARGET in found.ranking
    assert found.column("REASR").values[TARGET] is None  # it failed its search, and speaks for nothing
    assert found.score == 0
    assert "none took enough of the samples" in found.caveats[0]


def test_results_do_not_depend_on_how_many_run_at_once():
    torch.manual_seed(0)
    clf = neuron_networks.stages()
    samples = (torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(3)), None)
    options = {"steps": 4, "filters": True, "candidates": 6}
    many, one = (scanned(clf, samples, rows=rows, **options).finding for rows in (50, 1))
    assert many.facts["triggers_searched"] > 4
    assert many == one
    for a, b in zip(many.artifacts, one.artifacts, strict=True):
        torch.testing.assert_close(a.tensor, b.tensor, atol=1e-4, rtol=0)


def test_the_same_seed_gives_the_same_and_another_another():
    first, second, other = (scanned(patched(), seed=seed, steps=5).finding for seed in (1, 1, 2))
    assert first == second
    assert all(
        torch.equal(a.tensor, b.tensor) for a, b in zip(first.artifacts, second.artifacts, strict=True)
    )
    assert any(
        not torch.equal(a.tensor, b.tensor) for a, b in zip(first.artifacts, other.artifacts, strict=True)
    )


def test_many_samples_are_searched_on_in_part_and_tested_on_as_a_whole():
    clf = patched()
    few, many = (scanned(clf, band_samples(clf, each), steps=4).finding for each in (2, 8))
    candidates = many.facts["triggers_searched"]
    assert few.facts["evaluations"] == few.facts["triggers_searched"] * 4 * 10
    # Of 8 samples of every class the 1st, the 4th and the 7th.
    assert many.facts["evaluations"] == candidates * 4 * 15
    assert many.facts["forward_passes"] == 2 * 5 * 40
    assert (few.facts["samples_used"], many.facts["samples_used"]) == (10, 40)
    assert any("a share of 8 samples" in caveat for caveat in few.caveats)
    assert not any("a share of" in caveat for caveat in many.caveats)


def trigger(label: int, success: float, reasr: float, score: float = 1.0, kind: str = "patch") -> Trigger:
    layer = Activation("act", 0, 9, 1, (9,))
    return Trigger(Neuron(layer, label, label, score), kind, success, reasr, torch.zeros(3, 12, 12))


def told(*found: Trigger):
    clf = patched()
    return finding(
        clf, band_samples(clf), found, goal=0.6, threshold=0.8, settings={}, facts={"evaluations": 1}
    )


def test_a_class_is_judged_by_its_best_trigger():
    found = told(
        trigger(1, 0.9, 0.7), trigger(1, 0.9, 0.9), trigger(2, 1.0, 1.0, 3.0), trigger(4, 1.0, 1.0, 5.0)
    )
    assert found.column("REASR").values == (None, 0.9, 1.0, None, 1.0)
    assert found.targets == found.ranking == (4, 2, 1)
    assert found.facts["triggers"].split("; ")[2] == "act[2] to class 2, rise 3, patch: 1.000"
    assert told(trigger(1, 0.8, 0.8)).verdict == "clean"  # not above


def test_a_trigger_that_failed_its_search_does_not_count():
    found = told(trigger(1, 0.5, 0.9), trigger(2, 0.7, 0.75))
    assert (found.verdict, found.ranking, found.score) == ("clean", (2, 1), 0.75)
    assert ["failed" in line for line in found.facts["triggers"].split("; ")] == [True, False]
    assert found.facts["triggers_reached"] == 1


def test_without_any_suspicious_neuron_nothing_is_found():
    found = told()
    assert (found.verdict, found.score, found.ranking) == ("clean", 0.0, ())
    assert "No neuron" in found.caveats[0]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(432, 5)), "no activations"),
        (lambda x: x.flatten(1)[:, :5].relu(), "no activations"),
        (nn.Sequential(nn.Flatten(), nn.Linear(432, 4), nn.ReLU(), nn.Linear(4, 2)), "2 classes"),
    ],
)
def test_where_nothing_can_be_said_it_says_why(model, reason):
    clf = Classifier(model, input_shape=neuron_networks.SHAPE)
    report = scanned(clf, (torch.rand(10, 3, 12, 12), None))
    assert report.verdict == "not evaluable"
    assert reason in report.reason


def test_too_few_samples_are_said():
    clf = patched()
    samples = band_samples(clf)
    few = replace(samples, inputs=samples.inputs[:4], labels=samples.labels[:4], logits=samples.logits[:4])
    with pytest.raises(NotEvaluable, match="4 clean samples"):
        ABS.find(clf, few)


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"size": 2.5}, {"levels": 1}, {"lr": 0}, {"reach": -1}, {"threshold": 1.5}, {"rows": 0}],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ABS.check_options(options)
