"""Example repairs: one that was measured and scanned, and one that was refused."""

from __future__ import annotations

from helpers import example_reports
from mmbd.mitigators import Record
from mmbd.search.still_reached import Reach
from mmbd.workflows.re_attack import Course, ReAttack
from mmbd.workflows.repaired import Repair
from mmbd.workflows.triggered import Counted, Triggered


def measured() -> Repair:
    classes = (("cat", 20, 0.9, 0.8), (example_reports.HOSTILE[0], 20, 1.0, float("nan")))
    return Repair(
        Record("mm-bm", True, samples=50, settings={"steps": 10}, notes=(example_reports.HOSTILE[4],)),
        held_out=50,
        accuracy=(0.9, 0.88),
        classes=classes,
        trigger=Triggered(
            Counted(100, 99, 2),
            Counted(100, 1, 2),
            Counted(100, 0, 95),
            (("cat", Counted(60, 60, 0)), (example_reports.HOSTILE[0], Counted(40, 39, 2))),
        ),
        reached=(Reach("patch", 3, 5.0, 0.97, 0.03, counted=50, change=lambda inputs: inputs),),
        re_attack=ReAttack(
            Course("patch", 3, (0.03, 0.2, 0.4), 0.01),
            "another class",
            Course("patch", 1, (0.0, 0.1, 0.2), 0.0),
        ),
        scans=(example_reports.backdoored(), example_reports.clean()),
    )


def refused() -> Repair:
    return Repair(Record("mm-bm", False, "no activations"))


ALL = {"measured": measured, "refused": refused}
