"""What was searched for and what the nulls say of it, as one finding."""

from __future__ import annotations

from typing import Any

from mmbd.detectors.mm_bd import facts
from mmbd.detectors.mm_bd.certainty import caveats, not_clean
from mmbd.detectors.mm_bd.drawn import drawn, sources
from mmbd.detectors.mm_bd.searched import Searched
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.null import NULLS
from mmbd.null.combined import AWAY, FLOW, WINDOW, by_pairs
from mmbd.null.decide import Decision
from mmbd.null.with_samples import by_pairs_on_samples
from mmbd.results.finding import Artifact, Column, Finding, Test
from mmbd.search.marks import Marks
from mmbd.search.marks_on_samples import OnSamples

# Of so many classes, the most suspicious ones, the searches and their results are kept.
TRACES_KEPT = ARTIFACTS_KEPT = 24


def finding_of(
    classifier: Classifier, found: Searched, decision: Decision, settings: dict[str, Any], *, asked: bool
) -> Finding:
    """The finding of a model; `asked` says whether the null that decides was asked for by name."""
    statistics, classes = found.statistics, classifier.classes

    def column(name: str, values: dict[int, float], unit: str = "", suspicious: Any = "high") -> Column:
        return Column(name, tuple(values.get(label) for label in range(classes)), unit, suspicious)

    columns = [column("maximum margin", statistics, "logits")]
    if found.gains is not None:
        columns.append(column("universal-perturbation gain", dict(found.gains.by_class), "logits"))
    columns += [column(*seen) for seen in facts.columns_of(found)]
    ranked_by = None
    if decision.values != statistics:
        ranked_by = NULLS[decision.decided_by].column
        columns.append(column(ranked_by, dict(decision.values)))
    if decision.class_p_values is not None:
        columns.append(column("p-value", dict(decision.class_p_values), suspicious="low"))
    by_margin = sorted(found.margins.curves, key=lambda label: -statistics.get(label, float("-inf")))
    ranking = _ranking(statistics, dict(decision.values))
    seen = [label for label in ranking if label in found.margins.inputs][:ARTIFACTS_KEPT]
    seen_first = None
    if (marks := _deciding(found, decision)) is not None and ranking:
        seen_first = drawn(
            marks,
            decision.targets,
            ranking[0],
            in_pairs=_in_pairs(decision.test),
            flow=_by_flow(decision.test),
        )
    kind = kind_of(classifier.domain)
    doubt = not_clean(decision, found, classifier.class_names, kind=kind, asked=asked)
    clean = decision.verdict == "clean" and found.no_verdict is None and doubt is None
    log10 = None if decision.verdict == "not evaluable" else decision.test.log10
    return Finding(
        verdict=decision.verdict,
        reason=decision.reason,
        targets=decision.targets,
        ranking=ranking,
        ranked_by=ranked_by,
        score=None if log10 is None else -log10,
        decided_by=decision.decided_by,
        tests=decision.tests,
        columns=tuple(columns),
        artifacts=(
            *(() if seen_first is None else seen_first[1]),
            *(Artifact("maximising input", label, found.margins.inputs[label]) for label in seen),
        ),
        shown=None if seen_first is None else seen_first[0],
        traces={label: found.margins.curves[label] for label in by_margin[:TRACES_KEPT]},
        no_verdict=found.no_verdict,
        not_clean=doubt,
        caveats=caveats(found, decision, clean=clean, domain=classifier.domain),
        settings=settings,
        facts=facts.facts_of(found) | _pairs_or_sources(found, decision),
    )


def _deciding(found: Searched, decision: Decision) -> Marks | OnSamples | None:
    """The windows and flows that were looked at for the decision."""
    on_samples = by_pairs_on_samples(decision.test) or _by_flow(decision.test)
    return found.on_samples if on_samples else found.marks


def _in_pairs(test: Test) -> bool:
    """Whether pairs of classes decide, on made-up inputs or on clean samples."""
    return by_pairs_on_samples(test) or by_pairs(test)


def _by_flow(test: Test) -> bool:
    """Whether a flow has more part in a test than windows have."""
    flow, *windows = (test.parameters.get(mark) or 0.0 for mark in (FLOW, WINDOW, AWAY))
    return flow > max(windows)


def _pairs_or_sources(found: Searched, decision: Decision) -> dict[str, Any]:
    """Pairs of classes by number, where they decide; or the sources, where those of the target stand out."""
    if found.marks is None or found.marked is None or not decision.targets:
        return {}
    if _in_pairs(decision.test):
        sampled = found.marked_on_samples if by_pairs_on_samples(decision.test) else None
        pairs = sorted((sampled or found.marked).pairs.items())
        return {"pairs": ", ".join(f"{source} -> {target}" for source, target in pairs)}
    target, *others = decision.targets
    taken = {} if others else sources(found.on_samples or found.marks, target)
    return {"sources": ", ".join(map(str, sorted(taken)))} if taken else {}


def _ranking(statistics: dict[int, float], values: dict[int, float]) -> tuple[int, ...]:
    """The classes with a valid margin, by what decides, the largest first; ties go by number.

    Those that have a margin, but not what decides, come last.
    """
    order = [(label not in values, -values.get(label, value), label) for label, value in statistics.items()]
    return tuple(label for _, _, label in sorted(order))
