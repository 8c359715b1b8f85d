"""What was scanned and what was run, as pairs of a label and a clean text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmbd.base.text import brief, clean_text, count, number, seconds, size
from mmbd.model.info import ModelInfo
from mmbd.render import words
from mmbd.results.report import Report

Facts = list[tuple[str, str]]
# Facts of a run that any detector may have, in words. The last two are told where they are not 0.
NAMES = {
    "converged": "converged early",
    "zero_gradient": "no gradient at the start",
    "oom_retries": "retries after memory ran out",
}
MISHAPS = ("zero_gradient", "oom_retries")


def model_facts(report: Report) -> Facts:
    """What was scanned."""
    model = report.model
    facts = [
        ("model", clean_text(model.name, 200)),
        ("file", "none (in memory)" if model.file is None else clean_text(model.file, 400)),
        ("SHA-256", "none" if model.sha256 is None else clean_text(model.sha256)),
        ("size", size(model.bytes)),
        ("format", "none" if model.format is None else clean_text(model.format)),
        ("architecture", clean_text(model.architecture, 200)),
        ("parameters", count(model.parameters)),
        ("classes", count(len(report.class_names) or None)),
        ("inputs", _inputs(model)),
        ("mean", _listed(model.mean)),
        ("std", _listed(model.std)),
        ("by the file's own word", words.claims(report.claimed)),
    ]
    return [(name, value) for name, value in facts if value not in ("", "-", "none")]


def run_facts(report: Report) -> Facts:
    """How it was scanned and what it took; the detector alone if nothing was run."""
    run = report.run
    facts = [("detector", f"{clean_text(report.detector)}, version {report.version}")]
    if run is None:
        return facts
    return [
        *facts,
        *_settings(report.finding.settings),
        *_came_to(report),
        ("time", f"{seconds(run.seconds)} on {clean_text(run.device)}"),
        ("seed", str(run.seed)),
        ("started", clean_text(run.started)),
        ("versions", pairs(run.versions)),
    ]


def pairs(values: Mapping[str, object]) -> str:
    """The pairs of a mapping in one line: name value, name value."""
    return ", ".join(f"{_label(name)} {clean_text(value)}" for name, value in values.items())


def _settings(settings: Mapping[str, Any]) -> Facts:
    """Plain settings in one line, and every group of them in one of its own."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping | None)}
    groups = {name: value for name, value in settings.items() if name not in plain}
    lines = [(_label(name), pairs(value) if value else "none") for name, value in groups.items()]
    return [("settings", pairs(plain)), *lines] if plain else lines


def _came_to(report: Report) -> Facts:
    """The facts of a run, each in a line; mishaps only where there were any."""
    step = words.about(report).step
    names = {**NAMES, **({"evaluations": f"{step}s"} if step.endswith("evaluation") else {})}
    facts = report.finding.facts.items()
    told = [(name, value) for name, value in facts if value or name not in MISHAPS]
    return [(names.get(name, _label(name)), _said(value)) for name, value in told]


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    return brief(value) if isinstance(value, float) else clean_text(value)


def _label(name: str) -> str:
    return clean_text(name.replace("_", " "))


def _inputs(model: ModelInfo) -> str:
    shape = " x ".join(str(length) for length in model.input_shape)
    domain = clean_text(model.domain, 120)
    if model.bounds is not None:
        domain = f"from {brief(model.bounds[0])} to {brief(model.bounds[1])}"
    return ", ".join(filter(None, [shape, domain]))


def _listed(values: tuple[float, ...] | None) -> str:
    return "none" if values is None else ", ".join(number(value) for value in values[:16])
