"""The automatic choice: bounds where they do, hardening where a perturbation still works."""

from __future__ import annotations

import dataclasses
import importlib
import json

import pytest
import torch
from torch import nn

from helpers import backdoored_networks
from helpers.patch_networks import TARGET, patch_network, patch_prepared
from mmbd.base.errors import NotMitigated
from mmbd.mitigators import ladder, mitigate, mm_bm
from mmbd.mitigators.automatic import automatic, easiest_patch
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.ladder import Look, Reached
from mmbd.mitigators.mitigator import Mitigation, Record
from mmbd.model.bounded import Bounded, same_weights
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare
from mmbd.search.still_reached import Reach

module = importlib.import_module("mmbd.mitigators.automatic")  # its function has its name


def slipping() -> Classifier:
    """As `vectors`, but its trigger drives an activation low, where no upper bound is met."""
    clf = backdoored_networks.vectors()
    first, _, last = clf.model
    with torch.no_grad():
        first.weight[-1].neg_()
        last.weight[2, -1].neg_()
    return Classifier(nn.Sequential(first, nn.LeakyReLU(1.0), last), input_shape=(64,))


def chosen(clf: Classifier, **options) -> Mitigation:
    with backdoored_networks.untouched(clf):
        return automatic(clf, prepare(clf, *backdoored_networks.vector_samples()), **options)


def of_kind(record: Record, kind: str):
    """What became of the one perturbation of a kind."""
    (row,) = (row for row in record.perturbations if row["kind"] == kind)
    return row


def test_where_bounds_are_enough_nothing_else_is_done():
    clf = backdoored_networks.vectors()
    repaired, record = chosen(clf)
    alone = mm_bm(clf, prepare(clf, *backdoored_networks.vector_samples()))
    assert record.settings["chosen"] == "mm-bm"
    assert "hardening" not in record.settings
    assert record.layers == alone.record.layers
    assert record.perturbations == alone.record.perturbations
    assert backdoored_networks.vector_rates(repaired) == (1, 0)
    (note,) = record.notes
    assert "bounds only" in note
    inputs, labels = backdoored_networks.vector_samples()
    assert not mitigate(clf, inputs, labels, method="auto").record.weights_changed


def test_what_no_bound_stops_is_hardened_and_the_bounds_stay():
    clf = slipping()
    assert backdoored_networks.vector_rates(clf) == (1, 1)
    samples = prepare(clf, *backdoored_networks.vector_samples())
    bounds = mm_bm(clf, samples)
    assert backdoored_networks.vector_rates(bounds.classifier) == (1, 1)
    repaired, record = chosen(clf, hardening_steps=60)
    assert record.settings["chosen"] == "mm-bm + hardening"
    note, told = record.notes
    left = of_kind(bounds.record, "added")
    assert f"not enough: with bounds a small change still takes {left['after']:.0%}" in note
    assert "class 2" in note
    assert told.startswith("hardening: what is reached fell from ")
    (step,) = record.settings["ladder"]
    assert (step["step"], step["kept"]) == ("hardening", True)
    assert step["after"] < step["before"]
    row = of_kind(record, "added")  # of the hardening: what is said is of the network returned
    assert row["target"] == 2
    assert row["after"] < 0.5 < row["before"]
    assert isinstance(repaired.model, Bounded)
    assert [layer["upper"] for layer in record.layers] == [
        limit.upper.tolist() for limit in repaired.model.limits
    ]
    assert record.layers == bounds.record.layers
    assert backdoored_networks.vector_rates(repaired)[0] == 1
    assert not same_weights(clf.model, repaired.model)
    assert {name.partition(":")[0] for name in record.curves} == {"mm-bm", "hardening"}
    json.dumps(dataclasses.asdict(record), allow_nan=False)


def test_how_much_has_to_stand_is_asked_for():
    alone = chosen(slipping(), added_still_works=1.01, flow_works=0.0, search=False)
    assert alone.record.settings["chosen"] == "mm-bm"
    anything = chosen(backdoored_networks.vectors(), added_still_works=0.0, hardening_steps=2, search=False)
    assert anything.record.settings["chosen"] == "mm-bm + hardening"


def test_what_never_worked_is_no_reason(monkeypatch):
    """Large changes take some samples of any network to some class."""
    clf = slipping()
    nothing = chosen(clf, added_worked=1.01, search=False)
    assert nothing.record.settings["chosen"] == "mm-bm"
    assert "no small change was found" in nothing.record.notes[0]


def test_only_the_class_that_yielded_most_is_a_reason(monkeypatch):
    def with_rows(*rows: tuple[float, float]):
        def told(*given, **options) -> Mitigation:
            made = mm_bm(*given, **options)
            found = tuple(
                {"kind": "added", "target": label, "radius": 1.0, "before": before, "after": after}
                for label, (before, after) in enumerate(rows)
            )
            return Mitigation(made.classifier, dataclasses.replace(made.record, perturbations=found))

        return told

    for rows, choice, words in (
        (((0.95, 0.6), (0.74, 0.95)), "mm-bm", "that took 95% takes 60%"),
        (((0.95, 0.7), (0.74, 0.95)), "mm-bm + hardening", "still takes 70%"),
        (((0.65, 0.9),), "mm-bm", "no small change was found"),
    ):
        monkeypatch.setattr(module, "mm_bm", with_rows(*rows))
        record = chosen(backdoored_networks.vectors(), hardening_steps=2, search=False).record
        assert record.settings["chosen"] == choice
        assert words in record.notes[0]


class Column(nn.Module):
    """Class 1 where the eighth column is bright: a warp's backdoor, through a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(40.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.scale * (torch.relu(x[:, 0, :, 7]) - 0.64).mean(1)
        return torch.stack((torch.zeros_like(bright), bright), dim=1)


def warped() -> tuple[Classifier, Samples]:
    ramp = torch.linspace(0, 1, 12).expand(20, 1, 8, 12)  # 0.636 in that column
    clf = Classifier(Column(), input_shape=(1, 8, 12))
    return clf, prepare(clf, ramp * torch.linspace(0.95, 1, 20)[:, None, None, None])


def test_a_network_that_yields_to_a_flow_is_hardened_against_flows_without_bounds():
    clf, samples = warped()
    with backdoored_networks.untouched(clf):
        repaired, record = automatic(clf, samples, hardening_steps=60)
    assert record.settings["chosen"] == "hardening"
    assert record.settings["hardening"]["perturbations"] == ("flow",)
    assert "mm-bm" not in record.settings
    assert record.layers == ()
    assert type(repaired.model) is Column
    (note,) = record.notes
    assert note.startswith("hardened, without bounds: a small warp takes ")
    assert note.endswith("to class 1")
    row = of_kind(record, "flow")
    assert row["after"] < 0.5 < row["before"]


def test_hardening_against_flows_is_undone_where_something_else_still_works(monkeypatch):
    clf, samples = warped()
    left = Reached((Reach("patch", 1, 3, 0.9, 0.8, counted=20),))
    monkeypatch.setattr(Look, "at", lambda *_: left)
    record = automatic(clf, samples, hardening_steps=2, added_still_works=1.01).record
    assert record.settings["chosen"].startswith("mm-bm")
    assert "hardening against it was undone: a patch of size 3 that took 90% " in record.notes[0]


def test_a_flow_that_does_not_work_is_told_of_beside_the_bounds():
    clf, samples = warped()
    record = automatic(clf, samples, added_still_works=1.01, flow_works=1.01, search=False).record
    assert record.settings["chosen"] == "mm-bm"
    assert [row["kind"] for row in record.perturbations] == ["added", "sparse", "flow"]
    flow = of_kind(record, "flow")
    assert flow["target"] == 1
    assert flow["before"] > 0.8
    assert flow["after"] > 0.8  # the ReLU's bound keeps the column's mean where it was
    hardened = automatic(clf, samples, flow_works=1.01, hardening_steps=2, search=False).record
    assert hardened.settings["chosen"] == "mm-bm + hardening"
    assert hardened.settings["hardening"]["perturbations"] == ("added",)
    assert [row["kind"] for row in hardened.perturbations] == ["sparse", "flow", "added"]


def test_where_the_bounds_leave_nothing_to_spend_they_are_dropped(monkeypatch):
    clf = slipping()

    def only_the_original(classifier: Classifier, samples: Samples, **options) -> Mitigation:
        if classifier is not clf:
            raise NotMitigated("no weights kept the accuracy")
        return hardening(classifier, samples, **options)

    def fails(*_, **__) -> Mitigation:
        raise NotMitigated("no weights kept the accuracy")

    monkeypatch.setattr(ladder, "hardening", only_the_original)
    monkeypatch.setattr(ladder, "latent_shift", fails)
    repaired, record = chosen(clf, hardening_steps=60)
    assert record.settings["chosen"] == "hardening"
    assert record.notes[1] == "hardening did not do: no weights kept the accuracy"
    assert record.notes[2].endswith("; the bounds were dropped")
    assert record.layers == ()
    assert type(repaired.model) is type(clf.model)
    # What was achieved on bounds is not said of a network without.
    assert {row["kind"] for row in record.perturbations} == {"added"}


def test_where_hardening_does_not_do_the_bounds_are_what_comes_back(monkeypatch):
    def fails(*_, **__) -> Mitigation:
        raise NotMitigated("no weights kept the accuracy")

    for of in (module, ladder):
        monkeypatch.setattr(of, "hardening", fails)
    monkeypatch.setattr(ladder, "latent_shift", fails)
    clf = slipping()
    repaired, record = chosen(clf)
    assert record.changed
    assert record.settings["chosen"] == "mm-bm"
    assert same_weights(clf.model, repaired.model)
    assert record.notes[1] == "hardening did not do: no weights kept the accuracy"
    assert record.notes[-1] == "the bounds are all there is"
    assert not any(step["kept"] for step in record.settings["ladder"])
    clf, samples = warped()
    record = automatic(clf, samples, added_still_works=1.01, search=False).record
    assert record.settings["chosen"] == "mm-bm"
    assert record.notes[0].startswith("a small warp takes ")
    assert record.notes[0].endswith("did not do: no weights kept the accuracy")
    assert record.notes[1].startswith("bounds only: with them a small change")
    assert of_kind(record, "flow")["after"] > 0.8


def test_hardening_keeps_the_answers_of_the_network_as_it_was(monkeypatch):
    """Not those of the bounded one, which may have lost some."""
    seen: dict[str, object] = {}

    def watched(classifier: Classifier, samples: Samples, **options) -> Mitigation:
        seen.update(options, classifier=classifier, samples=samples)
        return hardening(classifier, samples, **options)

    monkeypatch.setattr(ladder, "hardening", watched)
    clf = slipping()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    automatic(clf, samples, hardening_steps=2, accuracy=0.5, seed=3)
    assert seen["teacher"] is clf
    assert len(seen["samples"].labels) + len(seen["aside"].labels) == len(samples.labels)
    assert isinstance(seen["classifier"].model, Bounded)
    assert (seen["steps"], seen["accuracy"], seen["seed"]) == (2, 0.5, 3)


def test_progress_counts_the_bounds_and_then_the_hardening():
    calls: list[tuple[int, int]] = []
    told = lambda at: calls.append((at.done, at.total))  # noqa: E731
    chosen(slipping(), steps=3, hardening_steps=2, progress=told, search=False)
    assert calls == [(1, 3), (2, 3), (3, 3), (1, 2), (2, 2)]


def test_where_a_small_patch_takes_all_there_is_no_warp(monkeypatch: pytest.MonkeyPatch):
    clf, samples = warped()
    monkeypatch.setattr(module, "easiest_patch", lambda *_: (0.97, 3))
    record = automatic(clf, samples, hardening_steps=2, added_still_works=1.01, search=False).record
    assert record.settings["chosen"] == "mm-bm"
    assert record.notes[0].startswith("no warp, though a small warp takes ")
    assert record.notes[0].endswith(": a small patch takes 97% of them to class 3")
    assert (
        automatic(clf, samples, hardening_steps=60, patch_works=1.01).record.settings["chosen"] == "hardening"
    )


def test_a_planted_patch_is_the_easiest_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATCH_SIDE", 0.25)  # 3 x 3 of 12 x 12 pixels
    clf = patch_network()
    inputs = patch_prepared(clf)
    assert easiest_patch(clf, inputs, 0) == (1.0, TARGET)
