"""Repairs without a clean sample: drawn inputs stand for them, and alone they show nothing to be reduced."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from helpers import patch_networks
from mmbd.base.errors import Failed
from mmbd.mitigators import MITIGATORS, Method, Mitigation, Record
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.forward import classes_of
from mmbd.render.repair import lines
from mmbd.search.still_reached import Reach
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import no_data
from mmbd.workflows import repair as fixing

STOPPED = (Reach("patch", 2, 3.0, 0.95, 0.02, counted=50),)
WORKS = (Reach("patch", 2, 3.0, 0.95, 0.9, counted=50),)


@pytest.fixture
def made(monkeypatch) -> list:
    """A row "made" of the table whose repairs are perfect; what it and the search were given."""
    seen: list = []

    def function(classifier, samples, *, seed=0, progress=None):
        seen.append(samples)
        repaired = classifier.around(patch_networks.patch_network(0.0).model)
        record = Record("made", True, samples=len(samples.labels), own_labels=samples.own)
        return Mitigation(repaired, record)

    def reached(before, after, samples, *, seed):
        seen.append(samples)
        return STOPPED

    monkeypatch.setitem(MITIGATORS, "made", Method(function, "for a test"))
    monkeypatch.setattr(fixing, "still_reached", reached)
    return seen


def test_inputs_are_drawn_for_both_and_answered_by_the_network():
    clf = patch_networks.patch_network(0.0)
    learn, aside = no_data.drawn(clf, 5, seed=3)
    again, _ = no_data.drawn(clf, 5, seed=3)
    assert torch.equal(learn.inputs, again.inputs)
    assert not torch.equal(learn.inputs[:3], no_data.drawn(clf, 5, seed=4)[0].inputs[:3])
    for part, most in ((learn, 5), (aside, no_data.ASIDE)):
        assert torch.equal(part.labels, classes_of(clf, part.inputs))
        assert 0 < len(part.labels) <= most * clf.classes
    assert not any(bool((learn.inputs == one).flatten(1).all(1).any()) for one in aside.inputs)


def test_a_perfect_repair_is_not_shown_without_a_clean_sample(made):
    clf = patch_networks.patch_network()
    repaired, outcome = fixing.fix(clf, "drawn", method="made")
    assert repaired is not clf
    assert outcome.verdict.word == "not shown"
    assert outcome.verdict.because[0] == no_data.UNMEASURED
    assert outcome.reached
    assert outcome.accuracy is None
    repairing, searched = made
    assert repairing.own
    assert outcome.drawn == outcome.record.samples == len(repairing.labels)
    assert not any(bool((repairing.inputs == one).flatten(1).all(1).any()) for one in searched.inputs)
    found = json.loads(outcome.to_json())
    assert (found["verdict"], found["drawn"], found["held_out"]) == ("not shown", outcome.drawn, 0)
    text = "\n".join(lines(outcome))
    assert text.startswith("NOT SHOWN  no clean sample was at hand")
    assert f"made: {outcome.drawn} drawn inputs, labelled by the model itself" in text
    assert no_data.WEAKER in text
    assert no_data.WEAKER in found["record"]["notes"]
    assert "accuracy: not measured, as there were no clean samples" in text


def test_with_held_out_samples_it_may_be_reduced(made):
    inputs, labels = patch_networks.patch_samples(60)
    _, outcome = fixing.fix(patch_networks.patch_network(), "drawn", (inputs, labels), method="made")
    assert outcome.verdict.word == "reduced"
    assert (outcome.held_out, outcome.accuracy) == (60, (1.0, 1.0))
    assert outcome.drawn
    assert bool((inputs[:, None] == made[1].inputs.cpu()[None]).flatten(2).all(2).any(0).all())


def test_what_still_works_on_drawn_inputs_has_failed(made, monkeypatch):
    monkeypatch.setattr(fixing, "still_reached", lambda *_, **__: WORKS)
    _, outcome = fixing.fix(patch_networks.patch_network(), "drawn", method="made")
    assert outcome.verdict.word == "failed"


def test_bounds_are_made_from_them(monkeypatch):
    monkeypatch.setattr(fixing, "still_reached", lambda *_, **__: STOPPED)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    clf = Classifier(net.eval(), input_shape=(3, 8, 8))
    _, outcome = fixing.fix(clf, "drawn", options={"steps": 2, "perturbations": ()})
    assert outcome.record.changed, outcome.record.reason
    assert outcome.record.method == "mm-bm"
    assert outcome.verdict.word == "not shown"


def test_where_nothing_can_be_drawn_or_measured():
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with pytest.raises(Failed, match="kind vector cannot be drawn, only images, sounds and point clouds"):
        fixing.fix(Classifier(net, domain=Box((6,), 0, 1)), "drawn")
    known = Backdoor({0: lambda x: x}, {0: 1}, torch.empty(0))
    with pytest.raises(Failed, match="a backdoor needs clean samples to be put on"):
        fixing.fix(patch_networks.patch_network(), "drawn", backdoor=known)
