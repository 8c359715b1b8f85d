"""What a search reaches before and after a repair: the planted trigger, at one size, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import backdoored_networks, patch_networks
from helpers.counted_gradients import Counted
from mmbd.base.errors import NotEvaluable
from mmbd.model.classifier import Classifier
from mmbd.search import still_reached as still_reached_module
from mmbd.search.still_reached import Change, Reach, inputs_for, still_reached


def rows_of(before: Classifier, after: Classifier, kinds=("patch",), count: int = 96) -> tuple[Reach, ...]:
    samples = inputs_for(before, *patch_networks.patch_samples(count), seed=0)
    return still_reached(before, after, samples, seed=0, kinds=kinds)


def test_a_patch_that_leads_nowhere_any_more_is_told_from_one_that_does():
    bad, clean = patch_networks.patch_network(), patch_networks.patch_network(0.0)
    first = rows_of(bad, clean)[0]
    assert (first.kind, first.target, first.before, first.after) == ("patch", patch_networks.TARGET, 1, 0)
    assert first.gave_way
    assert 1 <= first.size <= 5
    stamped = first.change(torch.zeros(2, *patch_networks.SHAPE))
    assert bool((bad(stamped).argmax(1) == patch_networks.TARGET).all())
    kept = rows_of(bad, bad)
    assert [row.before for row in kept] == [row.after for row in kept]
    assert kept[0].after == 1


def test_where_all_classes_give_way_nothing_stands_out():
    clean = patch_networks.patch_network(0.0)
    rows = rows_of(clean, clean)
    assert max(row.before for row in rows) == 1
    assert not any(row.gave_way for row in rows)


def test_a_class_that_falls_behind_after_the_repair_is_searched_to_the_end():
    vectors = backdoored_networks.vectors(classes=12)
    cured = backdoored_networks.vectors(classes=12)
    with torch.no_grad():
        cured.model[0].weight[12].zero_()
    samples = inputs_for(vectors, *backdoored_networks.vector_samples(96, classes=12), seed=0)
    rows = still_reached(vectors, cured, samples, seed=0, kinds=("added", "sparse", "flow"))
    assert {row.kind for row in rows} == {"added", "sparse"}  # these inputs have no flow
    (added,) = (row for row in rows if row.kind == "added" and row.target == 2)
    assert added.gave_way
    assert added.after <= 0.2


def test_more_classes_than_are_tried_at_growing_sizes():
    clf = backdoored_networks.vectors(classes=30)
    samples = inputs_for(clf, *backdoored_networks.vector_samples(120, classes=30), seed=0)
    (row, *_) = still_reached(clf, clf, samples, seed=0, kinds=("added",))
    assert (row.target, row.before) == (2, row.after)
    assert row.before > 0.9


def test_its_cost_is_some_thousands_of_gradients():
    clf = backdoored_networks.vectors(classes=10)
    samples = inputs_for(clf, *backdoored_networks.vector_samples(120, classes=10), seed=0)
    counted = Counted(clf.model)
    still_reached(clf, clf.around(counted), samples, seed=0)
    assert 0 < counted.evaluations < 4000  # after the repair: the sizes are settled
    counted.reset()
    still_reached(clf.around(counted), clf, samples, seed=0)
    assert counted.evaluations < 7000


def test_networks_that_know_one_class_only_are_not_searched():
    clf = patch_networks.patch_network()
    constant = Classifier(
        lambda x: 3 * torch.eye(6)[torch.zeros(len(x)).long()], input_shape=patch_networks.SHAPE
    )
    samples = inputs_for(clf, *patch_networks.patch_samples(24), seed=0)
    with pytest.raises(NotEvaluable, match="all samples into one class"):
        still_reached(clf, constant, samples, seed=0)


def test_inputs_are_those_that_are_right_and_few_of_a_class():
    clf = patch_networks.patch_network()
    inputs, labels = patch_networks.patch_samples(240)
    wrong = labels.clone()
    wrong[:60] = (wrong[:60] + 1) % 6
    samples = inputs_for(clf, inputs, wrong, seed=0)
    assert bool(samples.correct.all())
    assert samples.labels.bincount().tolist() == [12] * 6
    assert samples.labels[:6].sort().values.tolist() == list(range(6))  # classes in turn
    assert inputs_for(clf, inputs, None, seed=0).own
    assert len(inputs_for(clf, inputs[:6], labels[:6], seed=0).labels) == 6


def test_rows_compare_by_what_was_found():
    row = Reach("patch", 1, 3.0, 0.9, 0.1)
    assert row == replace(row, change=lambda x: x)
    assert not replace(row, before=0.4).gave_way


@pytest.mark.parametrize(("alike", "tells"), [(4, False), (2, True), (1, True)])
def test_of_many_classes_those_that_lead_must_not_all_give_way(
    monkeypatch: pytest.MonkeyPatch, alike: int, tells: bool
):
    """Four of 24 classes are searched to the end: how many of the others yield as much is not known."""
    clf = backdoored_networks.vectors(classes=24)
    samples = inputs_for(clf, *backdoored_networks.vector_samples(120, classes=24), seed=0)

    def leading(*_: object, **__: object) -> dict[int, tuple[float, Change]]:
        return {target: (1.0 if target < alike else 0.1, lambda inputs: inputs) for target in range(4)}

    monkeypatch.setattr(still_reached_module, "patch_shares", leading)
    rows = still_reached(clf, clf, samples, seed=0, kinds=("patch",))
    assert {row.gave_way for row in rows if row.target == 0} == {tells}


def test_hundreds_of_classes_get_few_inputs(monkeypatch: pytest.MonkeyPatch):
    clf = backdoored_networks.vectors(classes=24)
    inputs, labels = backdoored_networks.vector_samples(480, classes=24)
    assert len(inputs_for(clf, inputs, labels, seed=0).labels) == 12 * 24
    monkeypatch.setattr(still_reached_module, "MOST_PASSES", 24 * 50)
    assert len(inputs_for(clf, inputs, labels, seed=0).labels) == 50


def test_what_was_found_before_is_not_searched_for_again():
    bad, clean = patch_networks.patch_network(), patch_networks.patch_network(0.0)
    samples = inputs_for(bad, *patch_networks.patch_samples(96), seed=0)
    kept: dict[object, object] = {}
    first = still_reached(bad, clean, samples, seed=0, kinds=("patch",), kept=kept)
    counted = Counted(bad.model)
    again = still_reached(bad.around(counted), clean, samples, seed=0, kinds=("patch",), kept=kept)
    assert again == first
    assert counted.evaluations == 0
