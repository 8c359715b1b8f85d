"""Verdicts: reduced only where something was reached that is not reached any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmbd.search.still_reached import Reach
from mmbd.workflows.triggered import Counted
from mmbd.workflows.verdict import verdict_of

STOPPED = Reach("patch", 3, 5.0, 0.95, 0.02, natural=0.1, counted=50)
LEFT = Reach("added", 3, 0.5, 0.9, 0.8)
HALF = Reach("sparse", 3, 9.0, 0.9, 0.4, counted=50)
NEW = Reach("added", 5, 0.5, 0.1, 0.7)
NATURAL = Reach("flow", 1, 6.0, 0.9, 0.9, stands_out=False)
HIDDEN = Reach("flow", 3, 6.0, 0.9, 0.9, stands_out=False)
USUAL = Reach("added", 3, 0.5, 1.0, 0.31, natural=0.35, counted=54)  # as any other class at this size
SILENT = Reach("flow", 1, 6.0, 0.2, 0.1, stands_out=False)


@pytest.mark.parametrize(
    ("reached", "word"),
    [
        ([STOPPED], "reduced"),
        ([STOPPED, NATURAL, SILENT], "reduced"),  # what yields to everything tells nothing
        ([STOPPED, USUAL], "reduced"),
        ([STOPPED, LEFT], "not shown"),
        ([STOPPED, NEW], "not shown"),
        ([STOPPED, HALF], "not shown"),
        ([STOPPED, HIDDEN], "not shown"),  # the very class
        ([LEFT], "failed"),
        ([HALF], "not shown"),
        ([replace(STOPPED, after=0.0, counted=1)], "not shown"),  # one input shows nothing
        ([replace(STOPPED, counted=0)], "not shown"),
        ([SILENT, NATURAL], "not shown"),
        ([], "not shown"),
    ],
)
def test_by_the_search_alone(reached, word):
    found = verdict_of(changed=True, reached=reached, accuracy=(0.9, 0.89))
    assert found.word == word
    assert found.because
    assert all(found.because)


@pytest.mark.parametrize(
    ("success", "reached", "word"),
    [
        (Counted(100, 100, 2), [], "reduced"),
        (Counted(100, 100, 2), [STOPPED], "reduced"),
        (Counted(100, 100, 2), [HALF], "reduced"),
        (Counted(100, 100, 2), [LEFT], "not shown"),
        (Counted(100, 100, 94), [STOPPED], "failed"),
        (Counted(100, 100, 21), [STOPPED], "failed"),
        (Counted(100, 100, 18), [STOPPED], "not shown"),  # its interval goes to 27 %
        (Counted(5, 5, 0), [STOPPED], "not shown"),  # and here to 52 %
        (Counted(200, 60, 20), [STOPPED], "not shown"),  # a third of 30 % is left
        (Counted(100, 3, 2), [STOPPED], "not shown"),  # it never worked
        (Counted(0, 0, 0), [STOPPED], "reduced"),
    ],
)
def test_a_known_trigger_decides_as_well(success, reached, word):
    assert verdict_of(changed=True, reached=reached, success=success).word == word


def test_nothing_done_and_nothing_left_are_failures():
    unchanged = verdict_of(changed=False, reason="no activations", reached=[STOPPED])
    assert (unchanged.word, unchanged.because) == ("failed", ("nothing was repaired: no activations",))
    wrecked = verdict_of(changed=True, reached=[STOPPED], accuracy=(0.9, 0.1), success=Counted(100, 100, 0))
    assert wrecked.word == "failed"
    assert "from 90.0% to 10.0%" in wrecked.because[0]


def test_without_a_search_nothing_is_shown():
    found = verdict_of(changed=True, not_searched="5 samples", success=Counted(100, 100, 0))
    assert found.word == "not shown"
    assert "no search for what still works: 5 samples" in found.because[-1]
