"""Several detectors as one, which flags a model where any of them does.

The paper's "PT-RED + ABS" (table 1) is one: each finds what the other is not made for, and false
alarms add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.detectors.detector import About, Detector
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Artifact, Finding, Test

TEST = "any"
SUMMED = ("evaluations", "oom_retries")


@dataclass(frozen=True)
class Part:
    """What one of the detectors said; `weight` is how far it is on the way to its threshold, at 1 there."""

    name: str
    finding: Finding
    weight: float | None


def union(parts: Mapping[str, Detector], *, title: str) -> Detector:
    """A row that asks several others, each with as many samples a class as it takes alone.

    An option goes to all rows that take one of its name. Whatever a row measures is called "NAME: ..."
    in the finding; classes are ranked by the row that is nearest to flagging the model, or the
    farthest beyond that. A row that cannot judge the model leaves it open unless another flags it.

    Args:
        parts: the rows by name.
        title: its name and idea in one line.
    """
    taken = [row.takes for row in parts.values()]
    names = dict.fromkeys(name for some in taken for name in some or ())
    kinds = [row.kinds for row in parts.values() if row.kinds]
    return Detector(
        find=partial(_find, parts),
        version=sum(row.version for row in parts.values()),
        about=_about(parts, title),
        needs=frozenset[Any]().union(*(row.needs for row in parts.values())),
        per_class=max(row.per_class for row in parts.values()),
        fewest=max(row.fewest for row in parts.values()),
        kinds=frozenset[str].intersection(*kinds) if kinds else frozenset(),
        more=() if None in taken else tuple(names),
        check=partial(_check, parts),
    )


def _find(
    parts: Mapping[str, Detector],
    classifier: Classifier,
    samples: Samples | None,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Finding:
    found: list[Part] = []
    follow = _Following(progress)
    for name, row in parts.items():
        own = {**row.options, **_options_of(row, options)}
        clean = None if samples is None or not row.needs else _first(samples, row.per_class)
        try:
            finding = row.find(classifier, clean, level=level, seed=seed, progress=follow, **own)
        except NotEvaluable as error:
            finding = Finding("not evaluable", reason=str(error))
        follow.next()
        found.append(Part(name, finding, _weight(finding, level)))
    return _together(found, 0 if samples is None else len(samples.labels))


class _Following:
    """Tells of several detectors, one after the other, as of one."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self.progress, self.before, self.latest = progress, 0, 0

    def next(self) -> None:
        """One is done with."""
        self.before, self.latest = self.before + self.latest, 0

    def __call__(self, step: Progress) -> None:
        self.latest = step.done
        if self.progress is not None:
            self.progress(replace(step, done=self.before + step.done, total=self.before + step.total))


def _first(samples: Samples, per_class: int) -> Samples:
    """The first so many samples of every class, in their order; all where nobody labelled them."""
    if samples.own:
        return samples
    labels = samples.labels
    kept = torch.zeros_like(labels, dtype=torch.bool)
    for label in labels.unique().tolist():
        kept[(labels == label).nonzero().flatten()[:per_class]] = True
    if bool(kept.all()):
        return samples
    return samples.at(kept)


def _weight(finding: Finding, level: float) -> float | None:
    """How far the deciding test is on the way to its threshold, at 1 there; None without an answer."""
    test = finding.test
    if test is None or finding.verdict == "not evaluable":
        return None
    if test.p_value is not None:
        log10 = math.log10(max(test.p_value, 1e-300)) if test.log10 is None else test.log10
        return log10 / math.log10(level)
    if test.statistic is None or test.threshold is None:
        return None
    sign = -1 if test.suspicious == "low" else 1
    return 1 + sign * (test.statistic - test.threshold) / (abs(test.threshold) or 1.0)


def _together(found: list[Part], used: int) -> Finding:
    order = sorted(found, key=lambda part: (part.finding.verdict != "backdoored", -(part.weight or 0.0)))
    first, flagged = order[0], [part for part in order if part.finding.verdict == "backdoored"]
    silent = [part for part in found if part.finding.verdict == "not evaluable"]
    reason = None
    if not flagged and silent:
        reason = "; ".join(f"{part.name}: {part.finding.reason}" for part in silent)
    weights = {part.name: part.weight for part in found}
    score = max((weight for weight in weights.values() if weight is not None), default=None)
    test = Test(TEST, statistic=score, threshold=1.0, parameters=weights)
    if score is None:
        test = Test(TEST, reason=reason or "no detector has an answer")
    targets = dict.fromkeys(label for part in flagged for label in part.finding.targets)
    ranking = dict.fromkeys([*targets, *first.finding.ranking])
    one = first.finding
    ranked_by = one.ranked_by or (one.columns[0].name if one.columns else None)
    traces = next((part.finding.traces for part in found if part.finding.traces), {})
    return Finding(
        verdict="backdoored" if flagged else "not evaluable" if reason else "clean",
        reason=reason,
        targets=tuple(targets),
        ranking=tuple(ranking),
        ranked_by=None if ranked_by is None else f"{first.name}: {ranked_by}",
        score=None if reason else score,
        decided_by=TEST,
        tests=(test, *_named(found, "tests")),
        columns=_named(found, "columns"),
        matrices=_named(found, "matrices"),
        artifacts=tuple(_artifacts(order)),
        traces=traces,
        caveats=tuple(_caveats(found, silent if flagged else [])),
        settings={part.name: dict(part.finding.settings) for part in found},
        facts=_facts(found, used),
        no_verdict=None
        if flagged
        else next((p.finding.no_verdict for p in found if p.finding.no_verdict), None),
        not_clean=next((p.finding.not_clean for p in found if p.finding.not_clean), None),
    )


def _named(found: list[Part], kind: str) -> tuple[Any, ...]:
    """The tests, columns or matrices of all, named after who measured them."""
    return tuple(
        replace(one, name=f"{part.name}: {one.name}") for part in found for one in getattr(part.finding, kind)
    )


def _artifacts(order: list[Part]) -> list[Artifact]:
    """The artifacts of all; where two are of one kind and class, the later one is named after its detector.

    Masks come with the patterns that belong under them: detectors that find some go first.
    """
    masked = [any(one.kind == "trigger mask" for one in part.finding.artifacts) for part in order]
    kept: list[Artifact] = []
    for part in sorted(order, key=lambda part: not masked[order.index(part)]):
        there = {(one.kind, one.label) for one in kept}
        kept += [
            replace(one, kind=f"{part.name}: {one.kind}") if (one.kind, one.label) in there else one
            for one in part.finding.artifacts
        ]
    return kept


def _caveats(found: list[Part], silent: list[Part]) -> list[str]:
    said = [f"{part.name}: {caveat}" for part in found for caveat in part.finding.caveats]
    return said + [f"{part.name} cannot judge this model: {part.finding.reason}" for part in silent]


def _facts(found: list[Part], used: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"samples_used": used}
    for name in SUMMED:
        facts[name] = sum(part.finding.facts.get(name, 0) for part in found)
    for part in found:
        facts |= {f"{part.name}: {name}": value for name, value in part.finding.facts.items()}
    return facts


def _options_of(row: Detector, options: Mapping[str, Any]) -> dict[str, Any]:
    takes = row.takes
    return {name: value for name, value in options.items() if takes is None or name in takes}


def _check(parts: Mapping[str, Detector], options: Mapping[str, Any]) -> None:
    for row in parts.values():
        row.check_options(_options_of(row, options))


def _about(parts: Mapping[str, Detector], title: str) -> About:
    abouts = {name: row.about for name, row in parts.items()}
    first = next(iter(abouts.values()))

    def joined(word: str) -> str:
        return " ".join(dict.fromkeys(str(getattr(about, word)) for about in abouts.values()))

    columns = {
        f"{name}: {key}": words for name, about in abouts.items() for key, words in about.columns.items()
    }
    tests = {f"{name}: {key}": words for name, about in abouts.items() for key, words in about.tests.items()}
    complete = all(about.tests for about in abouts.values())
    own = {TEST: ("how far the nearest detector is on the way to its threshold", "the thresholds of all")}
    return About(
        title=title,
        source="; ".join(dict.fromkeys(about.source for about in abouts.values() if about.source)),
        rule=joined("rule"),
        mark=joined("mark"),
        backdoored=(
            f"This scan asked {' and '.join(abouts)}; either is enough. {{outliers}} {{chance}} Their false "
            "alarms add up."
        ),
        clean=f"This scan asked {' and '.join(abouts)}, and none of them flags this model. {{chance}}",
        statistics=first.statistics,
        columns=columns,
        artifacts=first.artifacts,
        suspect=first.suspect,
        traces=next((about.traces for about in abouts.values() if about.traces[1]), first.traces),
        step=next((about.step for about in abouts.values() if about.traces[1]), first.step),
        tested="What each detector says",
        tests={**own, **tests} if complete else {},
        advice=first.advice,
    )
