"""Example repairs: one that was measured and scanned, and one that was refused."""

from __future__ import annotations

from helpers import example_reports
from mmbd.mitigators import Record
from mmbd.workflows.repair import Repair


def measured() -> Repair:
    classes = (("cat", 20, 0.9, 0.8), (example_reports.HOSTILE[0], 20, 1.0, float("nan")))
    return Repair(
        Record("mm-bm", True, samples=50, settings={"steps": 10}, notes=(example_reports.HOSTILE[4],)),
        held_out=50,
        accuracy=(0.9, 0.88),
        classes=classes,
        triggered=40,
        attack_success=(0.99, 0.02),
        scans=(example_reports.backdoored(), example_reports.clean()),
    )


def refused() -> Repair:
    return Repair(Record("mm-bm", False, "no activations"))


ALL = {"measured": measured, "refused": refused}
