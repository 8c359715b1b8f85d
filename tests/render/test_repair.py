"""Repairs in words: nothing is claimed that was not measured."""

from __future__ import annotations

from dataclasses import replace

from mmbd.mitigators import Record
from mmbd.mitigators.still_working import judged
from mmbd.render.repair import lines
from mmbd.search.still_reached import Reach
from mmbd.workflows import repair as fixing
from mmbd.workflows.re_attack import Course, ReAttack
from mmbd.workflows.triggered import Counted, Triggered


def test_words_claim_nothing_that_was_not_measured():
    found = ({"kind": "added", "target": 3, "radius": 0.4, "before": 0.9, "after": 0.8},)
    silent = "\n".join(lines(fixing.Repair(Record("mm-bm", True, perturbations=judged(found)))))
    assert "attack success: not measured" in silent
    assert "class 3: took 90% of the other classes' samples there before, takes 80%" in silent
    assert "--method hardening" in silent
    assert "accuracy: not measured" in silent
    cats = (("<b>cat\x1b[0m", 50, 0.9, 0.88),)
    trigger = Triggered(Counted(100, 99, 2))
    told = fixing.Repair(Record("mm-bm", True), 50, (0.9, 0.88), cats, trigger)
    text = "\n".join(lines(told))
    assert "90.0% before, 88.0% after (-2.0 points)" in text
    assert "99.0% before, 2.0% after" in text
    assert "not measured" not in text
    assert "\x1b" not in text
    assert "without a trigger" not in text
    sources = (("<b>\x1b[0mcat", Counted(50, 49, 2)), ("dog", Counted(50, 50, 0)))
    known = replace(
        told,
        trigger=replace(
            trigger, untriggered=Counted(100, 1, 2), recovered=Counted(100, 0, 95), sources=sources
        ),
    )
    text = "\n".join(lines(known))
    assert "without a trigger, 1.0% and 2.0% go to the target" in text
    assert "0.0% before and 95.0% after are given their true class" in text
    assert "most left: <b>\\x1b[0mcat, 98.0% before, 4.0% after of 50" in text
    assert "95 % interval 0.2% to 7.0%" in text
    assert "\x1b" not in text
    sparse = ({"kind": "sparse", "target": 3, "radius": 9.0, "before": 0.9, "after": 0.8},)
    few = "\n".join(lines(fixing.Repair(Record("mm-bm", True, perturbations=judged(sparse)))))
    assert "a small change in few places found for class 3" in few
    assert "--method hardening" not in few  # they move clean networks too
    patch = ({"kind": "patch", "target": 3, "radius": 5, "before": 0.9, "after": 0.1},)
    assert "a small patch found for class 3" in "\n".join(
        lines(fixing.Repair(Record("hardening", True, perturbations=judged(patch))))
    )
    nothing = "\n".join(lines(fixing.Repair(Record("mm-bm", False, "no activations"))))
    assert nothing.splitlines() == ["FAILED  nothing was repaired: no activations", "The model is unchanged."]


def test_the_verdict_and_its_evidence_come_first():
    gone = Reach("patch", 3, 5.0, 0.97, 0.03, counted=50)
    told = lines(fixing.Repair(Record("mm-bm", True), reached=(gone,)))
    assert told[0].startswith(
        "REDUCED  a patch of size 5 found by search took 97% of other classes' samples to class 3"
    )
    still = lines(fixing.Repair(Record("mm-bm", True), reached=(replace(gone, after=0.9),)))
    assert still[0].startswith("FAILED  a patch")
    assert lines(fixing.Repair(Record("mm-bm", True)))[0].startswith("NOT SHOWN  the search reached no class")


def test_a_re_attack_is_told_beside_what_it_is_compared_with():
    course = Course("patch", 3, (0.03, 0.4), 0.01)
    found = ReAttack(course, "another class", replace(course, target=1, shares=(0.0, 0.1)))
    text = "\n".join(lines(fixing.Repair(Record("mm-bm", True), re_attack=found)))
    assert "with the patch found for class 3: 3%, 40% step by step (1% without it at the end)" in text
    assert "beside it, for class 1: 0%, 10%" in text
    failed = fixing.Repair(Record("mm-bm", True), not_re_attacked="no weights")
    assert "re-attack: not tried: no weights" in "\n".join(lines(failed))
