"""Repairs that are measured: what is counted, and what does not fit is found first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from helpers import patch_networks
from mmbd.base.errors import Failed
from mmbd.data.dataset import Dataset
from mmbd.formats.loaded import Loaded
from mmbd.mitigators import MITIGATORS, Method, Mitigation, Record
from mmbd.model.classifier import Classifier
from mmbd.model.info import describe
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import repair as fixing
from mmbd.workflows.repaired import fidelity as fidelity_of


class Brightness(nn.Module):
    """Says class 1 of bright inputs and class 0 of others, through a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.relu(x.flatten(1).mean(1, keepdim=True) - 0.5)
        return torch.cat((torch.full_like(mean, 0.05), mean), 1)


def bright(count: int) -> Dataset:
    labels = torch.arange(count) % 2
    images = torch.where(labels[:, None, None, None] == 1, 0.9, 0.1).expand(count, 1, 2, 2)
    return Dataset(images.clone(), labels, ("dark", "light"))


def test_accuracy_and_attack_success_are_counted_on_the_samples_given():
    clf = Classifier(Brightness(), input_shape=(1, 2, 2))
    held_out = bright(10)
    wrong = replace(held_out, labels=torch.zeros(10, dtype=torch.int64))
    triggered = (torch.full((4, 1, 2, 2), 0.9), 1)
    _, outcome = fixing.fix(
        clf, bright(20), wrong, triggered=triggered, method="mm-bm", options={"perturbations": (), "steps": 2}
    )
    assert outcome.held_out == 10
    assert outcome.accuracy == (0.5, 0.5)
    assert outcome.classes == (("0", 10, 0.5, 0.5),)
    assert outcome.triggered == 4
    assert outcome.attack_success == (1.0, 1.0)
    assert outcome.fidelity == 0.0
    assert outcome.scans is None


@pytest.mark.parametrize(
    ("accuracy", "success", "fidelity"),
    [
        ((0.8, 0.6), (1.0, 0.25), 0.5625),
        ((0.8, 0.8), (0.5, 0.0), 1.0),
        ((0.8, 0.8), None, None),
        (None, (1.0, 0.0), None),
        ((0.8, 0.8), (0.0, 0.0), None),
        ((0.5, 0.5), (0.2, 0.4), -1.0),
    ],
)
def test_fidelity(accuracy, success, fidelity):
    assert fidelity_of(success, accuracy) == (None if fidelity is None else pytest.approx(fidelity))


def test_classes_go_by_name_where_both_sides_know_the_names():
    samples = Dataset(torch.zeros(3, 1), torch.tensor([0, 1, 1]), ("b", "a"))
    assert fixing.named_alike(samples, ("a", "b", "c")).labels.tolist() == [1, 0, 0]
    assert fixing.named_alike(samples, ("0", "1")).labels.tolist() == [0, 1, 1]
    assert fixing.named_alike(samples, ("b", "a")) is samples
    with pytest.raises(Failed, match=r"2 classes \(b, a\), the classifier 2 \(x, y\)"):
        fixing.named_alike(samples, ("x", "y"))
    with pytest.raises(Failed, match=r"2 classes \(b, a\), the classifier 1 \(x\)"):
        fixing.named_alike(samples, ("x",))


WORKS = lambda images: images + 0.5  # noqa: E731


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"samples": (torch.zeros(4, 1, 3, 3), [0, 1, 0, 1])},
            r"the clean samples have the shape \(1, 3, 3\), expected \(1, 2, 2\)",
        ),
        ({"held_out": (torch.zeros(4, 1, 2), [0, 1, 0, 1])}, "held-out samples have the shape"),
        ({"held_out": (torch.zeros(4, 1, 2, 2).long(), [0, 1, 0, 1])}, "samples are torch.int64"),
        (
            {"held_out": (torch.full((4, 1, 2, 2), 2.0), [0, 1, 0, 1])},
            "held-out samples range from 2 to 2, outside .* raw inputs, not normalised",
        ),
        ({"held_out": (torch.full((4, 1, 2, 2), torch.nan), [0, 1, 0, 1])}, "hold NaN"),
        ({"triggered": (torch.zeros(2, 3, 2, 2), 1)}, "the triggered samples have the shape"),
        ({"backdoor": Backdoor({0: WORKS}, {0: 2}, torch.empty(0))}, "for class 2, and .* 0 to 1"),
        ({"backdoor": Backdoor({5: WORKS}, {5: 0}, torch.empty(0))}, "for class 5, and .* 0 to 1"),
        (
            {"backdoor": Backdoor({0: lambda x: x + torch.zeros(3)}, {0: 1}, torch.empty(0))},
            "does not go on inputs of shape",
        ),
        (
            {"backdoor": Backdoor({0: lambda x: x[:, :, :1]}, {0: 1}, torch.empty(0))},
            r"makes \(1, 1, 1, 2\) of inputs",
        ),
        (
            {
                "backdoor": Backdoor({0: WORKS}, {0: 1}, torch.empty(0)),
                "held_out": (torch.zeros(2, 1, 2, 2), [1, 1]),
            },
            "no held-out samples of .* classes",
        ),
    ],
    ids=range(11),
)
def test_what_does_not_fit_is_found_before_anything_is_repaired(monkeypatch, change, message):
    monkeypatch.setattr(fixing, "mitigate", lambda *_, **__: pytest.fail("repaired"))
    clf = Classifier(Brightness(), input_shape=(1, 2, 2))
    arguments = {"samples": bright(20), "held_out": bright(10)}
    for name, value in change.items():
        if name in arguments:
            value = Dataset(value[0], torch.tensor(value[1]), ("dark", "light"))
        arguments[name] = value
    with pytest.raises(Failed, match=message):
        fixing.fix(clf, arguments.pop("samples"), arguments.pop("held_out"), **arguments)


def test_samples_that_fit_are_numbered_as_the_classes():
    clf = Classifier(Brightness(), input_shape=(1, 2, 2), class_names=("light", "Dark"))
    assert fixing.fitting(bright(4), clf).labels.tolist() == [1, 0, 1, 0]
    whole = replace(bright(4), inputs=(bright(4).inputs * 255).to(torch.uint8))
    assert fixing.fitting(whole, clf).names == ("light", "Dark")
    with pytest.raises(Failed, match="have the shape"):
        fixing.fitting(replace(bright(4), inputs=torch.zeros(4, 3)), clf)


QUICK = {"method": "mm-bm", "options": {"perturbations": (), "steps": 2}}


def test_fix_takes_what_load_returns_and_samples_in_any_form():
    clf = Classifier(Brightness(), input_shape=(1, 2, 2), class_names=("dark", "light"))
    whole, shown = bright(20), bright(10)
    turned = (shown.inputs.numpy(), (1 - shown.labels).tolist(), ["light", "dark"])
    _, expected = fixing.fix(clf, whole, shown, **QUICK)
    repaired, outcome = fixing.fix(
        Loaded(clf, describe(clf), ()), (whole.inputs, whole.labels), turned, **QUICK
    )
    assert isinstance(repaired, Classifier)
    assert outcome.accuracy == expected.accuracy == (1.0, 1.0)
    assert outcome.classes == expected.classes


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 1, 2, 2),
        (torch.zeros(2, 1, 2, 2),),
        (torch.zeros(2, 1, 2, 2), None),
        (torch.zeros(2, 1, 2, 2), ["dark", "light"]),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, 2, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2), [0, 1], "ab"),
        "samples.npz",
        None,
    ],
    ids=range(9),
)
def test_samples_of_other_kinds_are_refused(wrong):
    clf = Classifier(Brightness(), input_shape=(1, 2, 2))
    with pytest.raises(TypeError, match=r"expected the clean samples as a Dataset, \(inputs, labels\) or"):
        fixing.fix(clf, wrong)
    if wrong is not None:
        with pytest.raises(TypeError, match="expected the held-out samples as a Dataset"):
            fixing.fix(clf, bright(4), wrong)


def test_only_classifiers_are_repaired():
    with pytest.raises(
        TypeError, match=r"expected an mmbd\.Classifier, or what mmbd\.load returns, got Bright"
    ):
        fixing.fix(Brightness(), bright(4))
    clf = Classifier(Brightness(), input_shape=(1, 2, 2))
    with pytest.raises(ValueError, match="labels run from 0 to 2, expected 0 to 1"):
        fixing.fix(clf, (torch.zeros(3, 1, 2, 2), [0, 1, 2]))


# ----------------------------------------------------------------------------------------- true words


def mitigator(monkeypatch, make) -> None:
    """A row "made" of the table that gives what `make` makes of a classifier, and says it is repaired."""

    def function(classifier, samples, *, seed=0, progress=None):
        return Mitigation(make(classifier), Record("made", True, samples=len(samples.labels)))

    monkeypatch.setitem(MITIGATORS, "made", Method(function, "for a test"))


def patched(count: int = 60) -> tuple[Classifier, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A backdoored network, samples to repair with, and held-out ones."""
    inputs, labels = patch_networks.patch_samples(4 * count)
    return patch_networks.patch_network(), (inputs[:count], labels[:count]), (inputs[count:], labels[count:])


def white(inputs: Tensor) -> Tensor:
    inputs = inputs.clone()
    inputs[:, :, *patch_networks.PATCH] = 1
    return inputs


SOURCES = [label for label in range(patch_networks.CLASSES) if label != patch_networks.TARGET]
PATCH = Backdoor(dict.fromkeys(SOURCES, white), dict.fromkeys(SOURCES, patch_networks.TARGET), torch.empty(0))


def test_a_repair_that_takes_the_patch_out_is_reduced(monkeypatch):
    clf, samples, held_out = patched()
    mitigator(monkeypatch, lambda clf: clf.around(patch_networks.patch_network(0.0).model))
    _, outcome = fixing.fix(clf, samples, held_out, method="made", backdoor=PATCH)
    assert outcome.verdict.word == "reduced", outcome.verdict
    assert outcome.attack_success == (1, 0)
    found = json.loads(outcome.to_json())
    assert (found["version"], found["verdict"]) == (2, "reduced")
    assert found["attack_success"]["intervals"]["after"][0] == 0
    assert 0 < found["attack_success"]["intervals"]["after"][1] < 0.05
    assert found["recovered"]["after"] == 1
    assert [row["name"] for row in found["sources"]] == [str(label) for label in SOURCES]
    row = found["reached"][0]
    assert (row["kind"], row["target"], row["before"], row["after"]) == ("patch", patch_networks.TARGET, 1, 0)
    assert "change" not in row
    assert found["record"]["changed"] is True
    assert "mitigated" not in found["record"]


@pytest.mark.parametrize("known", [PATCH, None])
def test_a_repair_that_does_nothing_is_never_reduced(monkeypatch, known):
    clf, samples, held_out = patched()
    mitigator(monkeypatch, lambda clf: clf.around(patch_networks.patch_network(7.5).model))
    _, outcome = fixing.fix(clf, samples, held_out, method="made", backdoor=known)
    assert outcome.record.changed
    assert outcome.verdict.word == "failed", outcome.verdict


def test_a_network_that_knows_nothing_any_more_is_no_repaired_one(monkeypatch):
    clf, samples, held_out = patched()
    constant = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(432, 6))
    with torch.no_grad():
        constant[1].weight.zero_()
    mitigator(monkeypatch, lambda clf: clf.around(constant))
    _, outcome = fixing.fix(clf, samples, held_out, method="made")
    assert outcome.not_searched is not None
    assert outcome.verdict.word == "failed"
    assert "accuracy fell" in outcome.verdict.because[0]


def test_without_held_out_samples_some_are_set_aside_before_the_repair(monkeypatch):
    clf, samples, _ = patched(48)
    mitigator(monkeypatch, lambda clf: clf.around(patch_networks.patch_network(0.0).model))
    _, outcome = fixing.fix(clf, samples, method="made")
    assert (outcome.record.samples, outcome.held_out) == (36, 12)
    assert outcome.verdict.word == "reduced"
    few = samples[0][:18], samples[1][:18]  # three of a class: none can be spared
    _, outcome = fixing.fix(clf, few, method="made")
    assert (outcome.record.samples, outcome.held_out) == (18, 0)
    assert outcome.verdict.word == "not shown"
    assert "0 samples were left" in outcome.not_searched


def test_one_sample_a_class_repairs_nothing_and_says_so(monkeypatch):
    clf, samples, held_out = patched()
    one = samples[0][:6], samples[1][:6]
    repaired, outcome = fixing.fix(clf, one, held_out)
    assert repaired is clf
    assert outcome.verdict.word == "failed"
    assert "at least 2 of every class" in outcome.verdict.because[0]
    with_one = held_out[0][:6], held_out[1][:6]
    mitigator(monkeypatch, lambda clf: clf.around(patch_networks.patch_network(7.5).model))
    _, outcome = fixing.fix(clf, samples, with_one, method="made")
    assert outcome.held_out == 6
    assert outcome.verdict.word == "failed"  # six samples are enough to see that much
    assert all(row.change is None for row in outcome.reached)
