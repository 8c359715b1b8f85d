"""Repairs in words: nothing is claimed that was not measured."""

from __future__ import annotations

from dataclasses import replace

from mmbd.mitigators import Record
from mmbd.mitigators.still_working import judged
from mmbd.render.repair import lines
from mmbd.workflows import repair as fixing


def test_words_claim_nothing_that_was_not_measured():
    found = ({"kind": "added", "target": 3, "radius": 0.4, "before": 0.9, "after": 0.8},)
    silent = "\n".join(lines(fixing.Repair(Record("mm-bm", True, perturbations=judged(found)))))
    assert "attack success: not measured" in silent
    assert "class 3: took 90% of the other classes' samples there before, takes 80%" in silent
    assert "--method hardening" in silent
    assert "accuracy: not measured" in silent
    cats = (("<b>cat\x1b[0m", 50, 0.9, 0.88),)
    told = fixing.Repair(Record("mm-bm", True), 50, (0.9, 0.88), cats, 40, (0.99, 0.02))
    text = "\n".join(lines(told))
    assert "90.0% before, 88.0% after (-2.0 points)" in text
    assert "99.0% before, 2.0% after" in text
    assert "not measured" not in text
    assert "\x1b" not in text
    assert "without a trigger" not in text
    known = replace(told, untriggered=(0.011, 0.024))
    assert "without a trigger, 1.1% and 2.4% go to the target" in "\n".join(lines(known))
    sparse = ({"kind": "sparse", "target": 3, "radius": 9.0, "before": 0.9, "after": 0.8},)
    few = "\n".join(lines(fixing.Repair(Record("mm-bm", True, perturbations=judged(sparse)))))
    assert "a small change in few places found for class 3" in few
    assert "--method hardening" not in few  # they move clean networks too
    nothing = "\n".join(lines(fixing.Repair(Record("mm-bm", False, "no activations"))))
    assert nothing.splitlines() == ["NOT MITIGATED  no activations", "The model is unchanged."]
