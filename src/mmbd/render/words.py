"""A report in words: headlines and explanations that all renderers share.

Everything returned here is clean text (see `text.clean_text`), ready to be escaped for a format. What
is a detector's own to say comes from its row, see `detectors.detector.About`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmbd.base.text import brief, clean_text, count, probability
from mmbd.render.classes import capital, class_label
from mmbd.results.finding import Test
from mmbd.results.report import Report
from mmbd.results.shown import Shown, ShownKind

if TYPE_CHECKING:
    from mmbd.detectors.detector import About

# Parameters of tests that are told before others, in this order.
KNOWN = ("shape", "loc", "scale", "statistic", "threshold")
# Perturbations without a number of places, and what a place is by the number of an input's axes.
CHANGES: dict[ShownKind, str] = {
    "window": "small window",
    "added": "pattern added",
    "sparse": "change of a few places",
    "flow": "warp",
}
PLACES = {1: "value", 2: "sample", 3: "pixel"}


# How caveats begin that say what was taken for granted of the inputs, or that it does not fit.
FIRST = ("assumed: ", "check the inputs: ")


def assumed(report: Report) -> list[str]:
    """What was taken for granted of the inputs, and what speaks against it, to be read before the rest."""
    return [
        clean_text(capital(caveat), 1000)
        for start in reversed(FIRST)
        for caveat in report.caveats
        if caveat.startswith(start)
    ]


def caveats(report: Report) -> list[str]:
    """What the scan cannot see and what to bear in mind, but for what `assumed` says."""
    return [clean_text(caveat, 1000) for caveat in report.caveats if not caveat.startswith(FIRST)]


def about(report: Report) -> About:
    """What the detector's row says about it; general words for a detector that is no row here."""
    from mmbd.detectors import DETECTORS, About  # torch comes with them

    row = DETECTORS.get(report.detector)
    return About(title=clean_text(report.detector)) if row is None else row.about


def filled(template: str, **values: str) -> str:
    """A text of `About` with its placeholders filled in, without the gaps that empty values leave."""
    return " ".join(template.format(**values).split())


def meaning(report: Report) -> str:
    """What it means that the model was flagged, or was not."""
    row = about(report)
    found = report.verdict == "backdoored"
    return filled(row.backdoored if found else row.clean, outliers=outliers(report), chance=chance(report))


def outliers(report: Report) -> str:
    """How many classes the verdict is about, in a sentence."""
    count = len(report.targets)
    if count == 0:
        return "No class is named."
    return "One class stands out." if count == 1 else f"{count} classes stand out."


def chance(report: Report) -> str:
    """What the deciding test says, in a sentence; empty if there is no answer."""
    test = report.finding.test
    if test is None:
        return ""
    if by_threshold(test):
        name, side = title_of(report, test.name), "above" if test.suspicious == "high" else "below"
        return f"Its {name} is {brief(test.statistic)}; models {side} {brief(test.threshold)} are suspicious."
    p, basis = p_value(report), basis_of(report, test.name)
    if p == "-":
        return ""
    extreme = "as extreme as this" if report.verdict == "backdoored" else "at least as extreme"
    compared = f" (compared with {basis})" if basis else ""
    return f"Among clean models, a result {extreme} is expected with a probability of {p}{compared}."


def title_of(report: Report, name: str) -> str:
    """How a test is called in print."""
    tests = about(report).tests
    return tests[name][0] if name in tests else clean_text(name, 40)


def basis_of(report: Report, name: str) -> str:
    """What a test compares the model with; empty if nobody said."""
    tests = about(report).tests
    return tests[name][1] if name in tests else ""


def by_threshold(test: Test) -> bool:
    """Whether the test compares its statistic with a threshold, instead of giving a p-value."""
    return test.p_value is None and test.answered


def side(test: Test) -> str:
    """On which side of its threshold a statistic lies: "above", "not above", "below", "not below"."""
    statistic, threshold = test.statistic or 0.0, test.threshold or 0.0
    if test.suspicious == "high":
        return "above" if statistic > threshold else "not above"
    return "below" if statistic < threshold else "not below"


def answer(test: Test) -> str:
    """A test's p-value, or its statistic and threshold; "-" where it gave none."""
    if by_threshold(test):
        return f"{brief(test.statistic)}, {side(test)} {brief(test.threshold)}"
    return probability(test.p_value, test.log10)


def fitted(test: Test) -> str:
    """What a test fitted and compared: the known parameters first, others as they come."""
    told = dict(test.parameters)
    if not by_threshold(test):  # else its answer tells them
        found = {"statistic": test.statistic, "threshold": test.threshold}
        told |= {name: value for name, value in found.items() if value is not None}
    names = [name for name in KNOWN if name in told] + [name for name in told if name not in KNOWN]
    return ", ".join(f"{clean_text(name.replace('_', ' '), 30)} {brief(told[name])}" for name in names)


def p_value(report: Report) -> str:
    """The p-value that decides, in print."""
    test = report.finding.test
    return "-" if test is None else probability(test.p_value, test.log10)


def finding(report: Report) -> str:
    """The verdict's content in one clause, without the verdict itself."""
    if report.verdict == "not evaluable":
        return clean_text(report.reason or "no reason given", 2000)
    found = "nothing found" if report.verdict == "clean" else targets(report)
    return "; ".join(filter(None, [found, _decision(report)]))


def _decision(report: Report) -> str:
    test = report.finding.test
    if test is None:
        return ""
    name = title_of(report, test.name)
    if by_threshold(test):
        return f"{name} {brief(test.statistic)}, {side(test)} its threshold {brief(test.threshold)}"
    return f"p = {p_value(report)} ({name} {about(report).test}) at level {report.level:g}"


def targets(report: Report, most: int = 5) -> str:
    """The targets for sentences: target class 3 "cat"; target classes 3 "cat" and 5 "dog"."""
    names = [class_label(report, label).removeprefix("class ") for label in report.targets[:most]]
    if len(report.targets) > most:
        names.append(f"{len(report.targets) - most} more")
    if not names:
        return "no target class is named"
    if len(names) == 1:
        return f"target class {names[0]}"
    return f"target classes {', '.join(names[:-1])} and {names[-1]}"


def shown(report: Report) -> str:
    """What the perturbation that is shown does, in a sentence; empty where none is.

    17 of 18 inputs of other classes go to class 3 "cat" with the same change of 25 pixels (rows 24 to 28,
    columns 26 to 30).
    """
    found = report.finding.shown
    if found is None:
        return ""
    goes = "goes" if found.moved == 1 else "go"
    if found.target is None:
        moved = f"{found.moved} of {found.tried} inputs {goes} to another class, each class to its own,"
    else:
        to = class_label(report, found.target)
        moved = f"{found.moved} of {found.tried} inputs of other classes {goes} to {to}"
    where = f" ({clean_text(found.where, 200)})" if found.where else ""
    return f"{moved} with the same {_change(report, found)}{where}."


def _change(report: Report, found: Shown) -> str:
    if found.places is None:
        return CHANGES[found.kind]
    shape = report.model.input_shape
    noun = "point" if shape[:-1] == (3,) else PLACES.get(len(shape), "place")
    return f"change of {count(found.places)} {noun}{'' if found.places == 1 else 's'}"


def stability(report: Report) -> str:
    """Over the seeds: which classes won how often, and the range of p."""
    repeats = report.stability
    if repeats is None:
        return ""
    tally = {label: repeats.winners.count(label) for label in repeats.winners}
    wins = sorted(tally, key=lambda label: (-tally[label], label is None, label))
    won = [f"{_winner(report, label)} {tally[label]}" for label in wins[:5]]
    if len(wins) > 5:
        won.append(f"{len(wins) - 5} other classes the rest")
    seeds = len(repeats.seeds)
    sentence = f"Over {seeds} seed{'' if seeds == 1 else 's'}: {', '.join(won)}"
    shown = "" if repeats.decides is None else f" What is shown is seed {repeats.decides}'s."
    known = [value for value in repeats.p_values if value is not None and math.isfinite(value)]
    if not known:
        return f"{sentence}; no p-value.{shown}"
    flagged = sum(value <= report.level for value in known)
    return (
        f"{sentence}; p from {probability(min(known))} to {probability(max(known))}, "
        f"within the level in {flagged} of {seeds}. The p-value of all together keeps the level: "
        f"the largest of the {seeds // 2 + 1} smallest, times {seeds}/{seeds // 2 + 1}.{shown}"
    )


def _winner(report: Report, label: int | None) -> str:
    return "no class comes first in" if label is None else f"{class_label(report, label)} wins"


def claims(words: Iterable[str]) -> str:
    """What is known by the file's own word alone."""
    return clean_text(", ".join(words), 200)
