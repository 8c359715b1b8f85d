"""A repair for a terminal: what was done, what it cost, and what is known of the backdoor now.

The words claim no more than was measured.
"""

from __future__ import annotations

from mmbd.base.text import clean_text, seconds
from mmbd.mitigators import Record
from mmbd.render import words
from mmbd.results.report import Report
from mmbd.search.perturbations import KINDS
from mmbd.workflows.repair import Repair

UNLIMITED = 1e30  # a bound that stands for none
SHOWN = 5


def lines(outcome: Repair) -> list[str]:
    """A repair as lines of clean text."""
    record = outcome.record
    if not record.mitigated:
        return [f"NOT MITIGATED  {clean_text(record.reason, 500)}", "The model is unchanged."]
    said = [
        f"{clean_text(record.method)}: {record.samples} clean samples"
        + (", labelled by the model itself" if record.own_labels else "")
        + f", {seconds(record.seconds)}"
    ]
    if record.layers:
        count = sum(bound < UNLIMITED for layer in record.layers for bound in layer["upper"])
        said.append(f"bounds on {count} channels of {len(record.layers)} activations")
    said.append("weights changed" if record.weights_changed else "no weight changed")
    said += [clean_text(note, 300) for note in record.notes]
    return [*said, "", *_accuracy(outcome), "", *_attack(outcome), *_scans(outcome)]


def _accuracy(outcome: Repair) -> list[str]:
    if outcome.accuracy is None:
        return ["accuracy: not measured, as no clean samples were left that the repair did not use"]
    before, after = outcome.accuracy
    said = [
        f"accuracy on {outcome.held_out} held-out clean samples: {before:.1%} before, {after:.1%} "
        f"after ({(after - before) * 100:+.1f} points)"
    ]
    worst = outcome.largest_drop
    if worst is not None:
        name, count, was, now = worst
        said.append(f"largest drop of a class: {clean_text(name)}, {was:.1%} to {now:.1%} of {count}")
    return said


def _attack(outcome: Repair) -> list[str]:
    if outcome.attack_success is not None:
        before, after = outcome.attack_success
        said = [
            f"attack success on {outcome.triggered} triggered samples: {before:.1%} before, {after:.1%} after"
        ]
        if outcome.untriggered is not None:
            was, now = outcome.untriggered
            said.append(f"of the same samples without a trigger, {was:.1%} and {now:.1%} go to the target")
        if outcome.fidelity is not None:
            said.append(f"fidelity: {outcome.fidelity:.2f} (1: attack gone, accuracy kept)")
        return said
    return [
        "attack success: not measured, as no triggered samples were given; that a trigger no "
        "longer works is not shown by what follows",
        *_perturbations(outcome.record),
    ]


def _perturbations(record: Record) -> list[str]:
    worst = sorted(record.perturbations, key=lambda one: -one["before"])[:SHOWN]
    said = [
        f"a small {KINDS[one['kind']].noun} found for class "
        f"{one['target']}: took {one['before']:.0%} of the other classes' samples there before, "
        f"takes {one['after']:.0%} after, having adapted"
        for one in worst
    ]
    if any(one.get("still_works") for one in record.perturbations):
        decided = record.weights_changed or record.method == "auto"
        other = "" if decided else ", or --method hardening or auto,"
        said.append(f"some of these still work: more clean samples{other} may help")
    return said


def _scans(outcome: Repair) -> list[str]:
    if outcome.scans is None:
        return []
    before, after = outcome.scans
    said = ["", f"scan before: {_scan(before)}", f"scan after:  {_scan(after)}"]
    if before.verdict == "backdoored" and after.verdict == "clean":
        said.append("the scan finds nothing any more, which a weakened backdoor can manage too")
    return said


def _scan(report: Report) -> str:
    return f"{report.verdict}, {words.finding(report)}"
