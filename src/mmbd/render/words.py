"""A report in words: headlines, labels, explanations and fact lists that all renderers share.

Everything returned here is clean text (see `text.clean_text`), ready to be escaped for a format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from mmbd.base.text import brief, clean_text, count, number, probability, seconds, size
from mmbd.model.info import ModelInfo
from mmbd.results.report import PValue, Report

# Each null by its short name: how it is called, and what it compares the model with.
NULLS = {
    "joint": ("joint", "clean networks of many kinds, by margin and universal gain together"),
    "population": ("population", "clean networks of many kinds"),
    "bootstrap": ("bootstrap", "simulated statistics without an outlier"),
    "paper": ("paper (eq. 7)", "a Gamma fitted to the other classes; not calibrated"),
    "authors": ("authors' variant", "the same with free location, as scripted; not calibrated"),
    "reference": ("reference", "your own reference models, by class where they have the same"),
}
FACTS_NAMED = ("shape", "loc", "scale", "statistic", "critical")


def null_name(null: str) -> str:
    """How a null is called in print."""
    return NULLS[null][0] if null in NULLS else clean_text(null, 40)


def null_basis(null: str) -> str:
    """What a null compares the model with."""
    return NULLS[null][1] if null in NULLS else ""


def ranking(report: Report) -> list[int]:
    """The classes with a valid statistic, by what decides: the most conspicuous first.

    Those that have a margin, but not what decides, come last; ties go by number.
    """
    found: list[tuple[bool, float, int]] = []
    for label, value in enumerate(report.statistics):
        if is_number(value):
            decides = report.deciding[label]
            known = is_number(decides)
            found.append((not known, -(decides if is_number(decides) else value), label))
    return [label for _, _, label in sorted(found)]


def ranked_by(report: Report) -> str:
    """What the order of the classes goes by."""
    if report.evidence is None:
        return "largest first"
    by = {"joint": "margin times gain", "reference": "how far each is above its references"}
    return f"in the order of what decides ({by.get(report.null or '', 'the default search')})"


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a value that can be shown: finite, and not absurdly large."""
    return value is not None and abs(value) < 1e90


def margins(report: Report) -> list[str]:
    """Every class's statistic in print, all with as many decimals; "-" where it is not valid."""
    return _alike(report.statistics)


def gains(report: Report) -> list[str]:
    """Every class's universal gain in print, as margins are; empty if there was no search."""
    texts = _alike(report.gains or ())
    return [text if text == "-" else f"+{text}" for text in texts]


def _alike(values: Sequence[float | None]) -> list[str]:
    top = max((abs(value) for value in values if is_number(value)), default=0.0)
    if not 1e-3 <= top < 1e6:
        return [number(value) for value in values]
    digits = 3 - math.floor(math.log10(top))
    return [f"{value:.{max(digits, 0)}f}" if is_number(value) else "-" for value in values]


def class_name(report: Report, label: int, limit: int = 40) -> str:
    """A class's name, empty when it is just its number."""
    name = report.class_names[label]
    return "" if name == str(label) else clean_text(name, limit)


def class_label(report: Report, label: int, limit: int = 40) -> str:
    """For sentences: class 3 "cat", or class 3."""
    name = class_name(report, label, limit)
    return f'class {label} "{name}"' if name else f"class {label}"


def targets(report: Report, most: int = 5) -> str:
    """For sentences: target class 3 "cat"; target classes 3 "cat" and 5 "dog"."""
    names = [class_label(report, label).removeprefix("class ") for label in report.targets[:most]]
    if len(report.targets) > most:
        names.append(f"{len(report.targets) - most} more")
    if len(names) == 1:
        return f"target class {names[0]}"
    return f"target classes {', '.join(names[:-1])} and {names[-1]}"


def deciding(report: Report) -> PValue | None:
    """The entry of `p_values` that the verdict rests on."""
    return next((entry for entry in report.p_values if entry.null == report.null), None)


def p_value(report: Report) -> str:
    """The p-value that decides, in print."""
    entry = deciding(report)
    return probability(report.p_value, None if entry is None else entry.log10)


def finding(report: Report) -> str:
    """The verdict's content in one clause, without the verdict itself."""
    if report.verdict == "not evaluable":
        return clean_text(report.reason or "no reason given", 2000)
    found = "nothing found" if report.verdict == "clean" else targets(report)
    basis = f" ({null_name(report.null)} null)" if report.null is not None else ""
    return f"{found}; p = {p_value(report)}{basis} at level {report.level:g}"


def model_facts(report: Report) -> list[tuple[str, str]]:
    """What was scanned, as (label, value)."""
    model = report.model
    facts = [
        ("model", clean_text(model.name, 200)),
        ("file", "none (in memory)" if model.file is None else clean_text(model.file, 400)),
        ("SHA-256", "none" if model.sha256 is None else clean_text(model.sha256)),
        ("size", size(model.bytes)),
        ("format", "none" if model.format is None else clean_text(model.format)),
        ("architecture", clean_text(model.architecture, 200)),
        ("parameters", count(model.parameters)),
        ("classes", count(len(report.statistics) or None)),
        ("inputs", _inputs(model)),
        ("mean", _listed(model.mean)),
        ("std", _listed(model.std)),
        ("by the file's own word", clean_text(", ".join(report.claimed), 200)),
    ]
    return [(name, value) for name, value in facts if value not in ("", "-", "none")]


def run_facts(report: Report) -> list[tuple[str, str]]:
    """How it was scanned and what it took, as (label, value); empty if nothing was run."""
    run = report.run
    if run is None:
        return []
    restarts, steps = run.settings.get("restarts"), run.settings.get("steps")
    budget = f", {restarts} restarts x {steps} steps at most" if restarts and steps else ""
    dead = f", {count(run.dead)} without a gradient at the start" if run.dead else ""
    retreats = f", after memory ran out {run.retreats} times" if run.retreats else ""
    return [
        ("method", clean_text(run.method) + clean_text(budget)),
        ("searches", f"{count(run.searches)}, {count(run.converged)} converged early{dead}"),
        ("gradient evaluations", count(run.evaluations)),
        ("time", f"{seconds(run.seconds)} on {clean_text(run.device)}"),
        ("batch", count(run.batch) + retreats),
        ("seed", str(run.seed)),
        ("started", clean_text(run.started)),
        ("settings", settings(run.settings)),
        ("universal perturbations", settings(run.universal or {}) or "not searched for"),
        ("versions", settings(run.versions)),
    ]


def settings(values: Mapping[str, object]) -> str:
    """The pairs of a mapping in one line: name value, name value."""
    return ", ".join(f"{clean_text(name)} {clean_text(value)}" for name, value in values.items())


def fitted(entry: PValue) -> str:
    """A null's parameters: the known ones first, others as they come."""
    known = [name for name in FACTS_NAMED if name in entry.parameters]
    others = [name for name in entry.parameters if name not in FACTS_NAMED]
    return ", ".join(
        f"{clean_text(name.replace('_', ' '), 30)} {brief(entry.parameters[name])}" for name in known + others
    )


def stability(report: Report) -> str:
    """Over the seeds: which classes won how often, and the range of p."""
    repeats = report.stability
    if repeats is None:
        return ""
    tally = {label: repeats.winners.count(label) for label in repeats.winners}
    wins = sorted(tally, key=lambda label: (-tally[label], label))
    won = [f"{class_label(report, label)} wins {tally[label]}" for label in wins[:5]]
    if len(wins) > 5:
        won.append(f"{len(wins) - 5} other classes the rest")
    seeds = len(repeats.seeds)
    sentence = f"Over {seeds} seed{'' if seeds == 1 else 's'}: {', '.join(won)}"
    known = [value for value in repeats.p_values if value is not None and math.isfinite(value)]
    if not known:
        return f"{sentence}; no p-value."
    flagged = sum(value <= report.level for value in known)
    shown = "" if repeats.decides is None else f" What is shown is seed {repeats.decides}'s."
    return (
        f"{sentence}; p from {probability(min(known))} to {probability(max(known))}, "
        f"within the level in {flagged} of {seeds}. The p-value of all together keeps the level: "
        f"the largest of the {seeds // 2 + 1} smallest, times {seeds}/{seeds // 2 + 1}.{shown}"
    )


def invalid(report: Report, most: int = 10) -> str:
    """A sentence on the classes without a valid statistic; empty if there are none."""
    labels = [label for label, value in enumerate(report.statistics) if not is_number(value)]
    if not labels:
        return ""
    some = ", ".join(str(label) for label in labels[:most])
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    plural = "es" if len(labels) > 1 else ""
    return f"Without a valid statistic: class{plural} {some}{more}."


def _inputs(model: ModelInfo) -> str:
    shape = " x ".join(str(length) for length in model.input_shape)
    domain = clean_text(model.domain, 120)
    if model.bounds is not None:
        domain = f"from {brief(model.bounds[0])} to {brief(model.bounds[1])}"
    return ", ".join(filter(None, [shape, domain]))


def _listed(values: tuple[float, ...] | None) -> str:
    return "none" if values is None else ", ".join(number(value) for value in values[:16])
