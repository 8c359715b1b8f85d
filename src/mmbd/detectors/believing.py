"""How far a file's own words may decide the verdict on it.

Whoever hides a backdoor may also write the metadata. So a report says what is known by the file's
claim alone; unusual claims forbid a verdict of clean; and a network with bounds on activations is
scanned without them too, as those have it who load the weights alone, and the worse verdict counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmbd.formats.loaded import Loaded
from mmbd.model.classifier import Classifier
from mmbd.model.plausible import doubt
from mmbd.results.report import Report

WORSE = ("clean", "not evaluable", "backdoored")


def of_file(loaded: Loaded, again: Callable[[Classifier], Report]) -> Report:
    """Scan what a file holds, believing its own words no more than is safe."""
    report = again(loaded.classifier)
    caveats = (*loaded.assumed, *loaded.notes)
    if (said := doubt(loaded.classifier)) is not None:
        caveats = (said, *caveats)
    if loaded.claimed:
        caveats = (*caveats, f"By the file's own words alone: {', '.join(loaded.claimed)}.")
    without = None if loaded.bare is None else _bare(loaded.bare, again, report)
    if without is not None:
        p = "" if without.p_value is None else f", p = {without.p_value:.2g}"
        if WORSE.index(without.verdict) > WORSE.index(report.verdict):
            report, judged = without, "and is judged so"
        else:
            judged = "which is no worse than with them"
        caveats = (
            *caveats,
            f"Without the bounds on activations that the file describes the network is "
            f"{without.verdict}{p}, {judged}: whoever loads the weights alone goes without them. A "
            "file of your own repair can be taken at its word: --as-claimed (as_claimed=True).",
        )
    if report.verdict == "clean" and loaded.doubts:
        reason = (
            f"nothing was found, but only by the file's own words, which may not decide: it claims "
            f"{'; '.join(loaded.doubts)}. Give what is right, or take the file at its word with "
            "--as-claimed (as_claimed=True)"
        )
        report = report.revised(verdict="not evaluable", reason=reason, score=None)
    return replace(report.revised(caveats=(*caveats, *report.caveats)), claimed=loaded.claimed)


def _bare(bare: Classifier, again: Callable[[Classifier], Report], report: Report) -> Report | None:
    """The scan of the weights alone; None where it fails, and the worst is known already."""
    try:
        return again(bare)
    except Exception:
        if report.verdict != "backdoored":
            raise
        return None
