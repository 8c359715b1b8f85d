"""The ladder of `auto`: what calls for a step, and that one which does nothing is undone."""

from __future__ import annotations

import pytest
import torch

from helpers import backdoored_networks
from mmbd.mitigators import ladder as module
from mmbd.mitigators import mm_bm
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.ladder import Ladder, Look, Reached, set_aside
from mmbd.mitigators.mitigator import Mitigation, Record
from mmbd.model.samples import prepare
from mmbd.search.still_reached import Reach


def row(before: float, after: float, *, natural: float = 0.0, target: int = 0, **fields) -> Reach:
    return Reach("patch", target, 3, before, after, natural=natural, counted=25, **fields)


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (row(0.9, 0.09), False),  # near nothing
        (row(0.9, 0.12), True),
        (row(0.9, 0.12, natural=0.1), False),  # as much as any class yields
        (row(0.9, 0.18, natural=0.1), True),
        (row(0.9, 0.25, natural=0.4), True),  # too much for a class that had given way
        (row(0.4, 0.4), False),  # never gave way
        (row(0.9, 0.9, stands_out=False), False),  # as many other classes do
    ],
)
def test_what_calls_for_a_step(found, left):
    assert bool(Reached((found,)).left) is left


def test_height_is_of_what_gave_way_and_of_what_is_new():
    gone, half = row(0.9, 0.0), row(1.0, 0.5, target=1)
    assert Reached((gone, half)).height == pytest.approx(0.25)
    moved = row(0.1, 0.8, target=2, natural=0.2)  # another class gives way instead
    assert Reached((gone, half, moved)).height == pytest.approx(0.25 + 0.6 / 2)
    assert Reached((gone, half, row(0.3, 0.4, target=3))).height == pytest.approx(0.25)
    assert [one.target for one in Reached((row(0.9, 0.3), half)).left] == [1, 0]


def test_a_quarter_of_every_class_is_set_aside_where_there_are_enough():
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples(40))
    train, aside = set_aside(samples, 0)
    assert train.labels.bincount().tolist() == [8] * 4
    assert aside is not None
    assert aside.labels.bincount().tolist() == [2] * 4
    assert len(torch.cat([train.inputs, aside.inputs]).unique(dim=0)) == 40
    few = prepare(clf, *backdoored_networks.vector_samples(28))
    assert set_aside(few, 0) == (few, None)


def climbing(monkeypatch: pytest.MonkeyPatch, heights: list[float]) -> tuple[Ladder, list[Mitigation]]:
    """A ladder whose search finds what it is told to, in turn, of networks that no step has changed."""
    clf = backdoored_networks.vectors()
    samples = prepare(clf, *backdoored_networks.vector_samples())
    found = iter([Reached((row(0.9, height, target=2),)) for height in heights])
    look = Look(clf, samples, 0)
    monkeypatch.setattr(Look, "at", lambda *_: next(found))

    def useless(start, samples, **options) -> Mitigation:
        return Mitigation(start, Record(options.get("name", "step"), True))

    monkeypatch.setattr(module, "hardening", useless)
    monkeypatch.setattr(module, "latent_shift", useless)
    ladder = Ladder(look, samples, {}, look.at(clf), [])
    return ladder, ladder.climbed(mm_bm(clf, samples, steps=2), None)


def test_steps_that_leave_no_less_are_undone(monkeypatch):
    ladder, parts = climbing(monkeypatch, [0.6, 0.6, 0.59])
    assert [made.record.method for made in parts] == ["mm-bm"]
    # The bounds are not given up for a step that did nothing, only for one that they left no accuracy to.
    assert [step["step"] for step in ladder.tried] == ["hardening", "latent-shift"]
    assert not any(step["kept"] for step in ladder.tried)
    assert ladder.notes[0] == "hardening: undone, as what is reached went from 60% to 60% only"
    assert ladder.notes[-1] == "the bounds are all there is"


def test_the_ladder_ends_where_nothing_is_left(monkeypatch):
    ladder, parts = climbing(monkeypatch, [0.6, 0.05])
    assert len(parts) == 2
    assert ladder.notes == ["hardening: what is reached fell from 60% to 5%"]
    ladder, parts = climbing(monkeypatch, [0.6, 0.3, 0.0])
    assert [step["step"] for step in ladder.tried] == ["hardening", "latent-shift"]
    assert len(parts) == 3
    _, parts = climbing(monkeypatch, [0.05])
    assert len(parts) == 1


def test_hardening_against_patches_stops_a_patch():
    clf, _ = backdoored_networks.planted()
    accuracy, before = backdoored_networks.planted_rates(clf)
    samples = backdoored_networks.planted_samples()
    made = hardening(clf, samples, steps=60, lr=2e-3, perturbations=("patch",), sides=(3,), targets=(0,))
    after = backdoored_networks.planted_rates(made.classifier)
    assert before > 0.9
    assert after[1] < 0.5
    assert after[0] >= accuracy - 0.05
    (found,) = made.record.perturbations
    assert (found["kind"], found["target"], found["radius"]) == ("patch", 0, 3)
    assert found["after"] < found["before"]
