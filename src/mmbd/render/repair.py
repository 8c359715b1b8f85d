"""A repair for a terminal: what was done, what it cost, and what is known of the backdoor now.

The words claim no more than was measured.
"""

from __future__ import annotations

from mmbd.base.text import clean_text, seconds
from mmbd.mitigators import Record
from mmbd.render import words
from mmbd.results.report import Report
from mmbd.workflows.re_attack import Course
from mmbd.workflows.repaired import Repair
from mmbd.workflows.verdict import noun

UNLIMITED = 1e30  # a bound that stands for none
SHOWN = 5
WORDS = {"reduced": "REDUCED", "not shown": "NOT SHOWN", "failed": "FAILED"}


def lines(outcome: Repair) -> list[str]:
    """A repair as lines of clean text, the verdict first."""
    record, verdict = outcome.record, outcome.verdict
    said = [f"{WORDS[verdict.word]}  {clean_text(verdict.because[0], 500)}"]
    if not record.changed:
        return [*said, "The model is unchanged."]
    said += [clean_text(because, 300) for because in verdict.because[1:]]
    what = "drawn inputs" if outcome.drawn else "clean samples"
    said += [
        "",
        f"{clean_text(record.method)}: {record.samples} {what}"
        + (", labelled by the model itself" if record.own_labels else "")
        + f", {seconds(record.seconds)}",
    ]
    hidden = [layer for layer in record.layers if layer.get("name") != "inputs"]
    if len(hidden) < len(record.layers):
        said.append("bounds on the inputs, place by place")
    if hidden:
        count = sum(bound < UNLIMITED for layer in hidden for bound in layer["upper"])
        said.append(f"bounds on {count} channels of {len(hidden)} activations")
    said.append("weights changed" if record.weights_changed else "no weight changed")
    said += [clean_text(note, 300) for note in record.notes]
    return [*said, "", *_accuracy(outcome), "", *_attack(outcome), *_re_attack(outcome), *_scans(outcome)]


def _accuracy(outcome: Repair) -> list[str]:
    if outcome.accuracy is None and outcome.drawn:
        return ["accuracy: not measured, as there were no clean samples"]
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
    trigger = outcome.trigger
    if trigger is None:
        return [
            "attack success: not measured, as no triggered samples were given",
            *_perturbations(outcome.record),
        ]
    before, after = trigger.success.shares
    _, (low, high) = trigger.success.intervals
    said = [
        f"attack success on {trigger.success.n} triggered samples: {before:.1%} before, {after:.1%} after "
        f"(95 % interval {low:.1%} to {high:.1%})"
    ]
    if trigger.untriggered is not None:
        was, now = trigger.untriggered.shares
        said.append(f"of the same samples without a trigger, {was:.1%} and {now:.1%} go to the target")
    if trigger.recovered is not None:
        was, now = trigger.recovered.shares
        said.append(f"with the trigger, {was:.1%} before and {now:.1%} after are given their true class")
    if len(trigger.sources) > 1:
        name, counted = max(trigger.sources, key=lambda entry: entry[1].shares[1])
        was, now = counted.shares
        said.append(
            f"the source class with most left: {clean_text(name)}, {was:.1%} before, {now:.1%} after of "
            f"{counted.n}"
        )
    if outcome.fidelity is not None:
        said.append(f"fidelity: {outcome.fidelity:.2f} (1: attack gone, accuracy kept)")
    return said


def _re_attack(outcome: Repair) -> list[str]:
    if outcome.not_re_attacked is not None:
        return ["", f"re-attack: not tried: {clean_text(outcome.not_re_attacked, 300)}"]
    found = outcome.re_attack
    if found is None:
        return []
    said = [
        "",
        f"re-attack, one epoch on ten samples with the {noun(found.course.kind)} found for class "
        f"{found.course.target}: {_course(found.course)}",
    ]
    if found.other is None:
        return [*said, "nothing to compare with was found"]
    beside = "its clean twin" if found.beside == "clean twin" else f"class {found.other.target}"
    return [*said, f"beside it, for {beside}: {_course(found.other)}"]


def _course(course: Course) -> str:
    shares = ", ".join(f"{share:.0%}" for share in course.shares)
    return f"{shares} step by step ({course.without:.0%} without it at the end)"


def _perturbations(record: Record) -> list[str]:
    worst = sorted(record.perturbations, key=lambda one: -one["before"])[:SHOWN]
    said = [
        f"a small {noun(one['kind'])} found for class "
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
