"""Which perturbations say, after a repair, that a backdoor may be left."""

from __future__ import annotations

import pytest

from mmbd.mitigators.still_working import judged


def row(kind: str, before: float, after: float) -> dict[str, object]:
    return {"kind": kind, "target": 0, "radius": 1.0, "before": before, "after": after}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("added", 0.95, 0.71)], [True]),
        ([row("added", 0.95, 0.69)], [False]),
        ([row("added", 0.69, 0.9)], [False]),  # it never worked, so it says nothing of a backdoor
        ([row("added", 0.95, 0.6), row("added", 0.74, 0.95)], [False, False]),  # of the easiest class
        ([row("sparse", 1.0, 1.0)], [False]),  # clean networks yield to these too
        ([row("flow", 0.2, 0.31), row("flow", 0.9, 0.29), row("added", 0.9, 0.9)], [True, False, True]),
        ([], []),
    ],
)
def test_each_row_says_whether_its_perturbation_still_works(rows, expected):
    made = judged(rows)
    assert [one["still_works"] for one in made] == expected
    assert [{name: one[name] for name in one if name != "still_works"} for one in made] == rows


def test_the_shares_that_count_are_options():
    rows = [row("added", 0.5, 0.5), row("flow", 0.1, 0.1)]
    assert not any(one["still_works"] for one in judged(rows))
    made = judged(rows, added_worked=0.5, added_still_works=0.5, flow_works=0.1)
    assert all(one["still_works"] for one in made)
