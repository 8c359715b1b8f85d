"""From masks and patterns of all classes to a finding: what Neural Cleanse and its kin share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mmbd.base.errors import NotEvaluable
from mmbd.base.text import count
from mmbd.detectors import options as checks
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.null.mad import FEWEST, outliers
from mmbd.results.finding import Artifact, Column, Finding
from mmbd.search.mask_pattern import Found
from mmbd.search.rows import PoolStats
from mmbd.triggers.mask_pattern import stamp

# Of so many classes, the most suspicious ones, the triggers are kept.
ARTIFACTS_KEPT = 24
Score = Literal["norm", "log norm"]
SCORES: Mapping[Score, Callable[[float], float]] = {
    "norm": lambda norm: norm,
    "log norm": lambda norm: math.log(max(norm, SMALLEST)),
}
SMALLEST = 1e-6  # of a mask's norm, in pixels
# What `About` says of columns and pictures.
TRIGGER_WORDS: Mapping[str, Any] = {
    "statistics": "How much of an image the trigger of a class covers",
    "columns": {
        "mask norm": (
            "The statistic of a class is the L1 norm of the smallest mask under which a pattern takes "
            "clean images to it, in pixels."
        ),
        "anomaly index": (
            "The anomaly index says how many robust standard deviations it lies below the median of all "
            "classes."
        ),
        "success": "The success is the share of the clean images of other classes that the trigger moves.",
    },
    "artifacts": (
        "The triggers found",
        "A mask, a pattern and a clean image with the pattern under the mask. They need not look like the "
        "trigger of the attack, but they work like it.",
    ),
    "suspect": "This trigger takes clean images to the class; its {column} is {value}.",
    "traces": ("How the masks shrank", "The mean norm of the mask in every pass over the clean images."),
    "step": "pass",
    "tested": "How far the smallest mask norm lies below the median",
    "tests": {"MAD": ("anomaly index", "the other classes of the same model")},
    "advice": {
        "backdoored": (
            "Unlearn the trigger found: `mmbd fix --method unlearning --trigger REPORT.json`, where the "
            "report was stored with `--json`.",
        )
    },
}


def need_classes(classifier: Classifier) -> None:
    """NotEvaluable for a model with too few classes to compare."""
    if classifier.classes < FEWEST:
        raise NotEvaluable(
            f"{count(classifier.classes)} classes: the MAD index compares a class with all others, and needs "
            f"at least {FEWEST}"
        )


def finding(
    classifier: Classifier,
    samples: Samples,
    found: Mapping[int, Found],
    stats: PoolStats,
    *,
    threshold: float,
    settings: Mapping[str, Any],
    score: Score = "norm",
) -> Finding:
    """What the mask norms say: an outlier on the low side is a backdoor's target.

    Args:
        classifier: the model under inspection.
        samples: what the triggers were searched on.
        found: the outcome for every class.
        stats: what the searches took.
        threshold: of the MAD index.
        settings: to report.
        score: what of a mask's norm is compared, see `SCORES`.
    """
    norms = {label: one.norm for label, one in found.items() if one.reached}
    judged = outliers({label: SCORES[score](norm) for label, norm in norms.items()}, threshold=threshold)
    missed = [label for label in found if label not in norms]
    ranking = [*sorted(norms, key=lambda label: (norms[label], label)), *missed]
    flagged = judged.flagged
    reason = None if judged.test.answered else f"the triggers cannot be compared: {judged.test.reason}"
    verdict = "not evaluable" if reason else "backdoored" if flagged else "clean"

    def column(name: str, values: Mapping[int, float], unit: str = "", suspicious: Any = "high") -> Column:
        return Column(name, tuple(values.get(label) for label in range(classifier.classes)), unit, suspicious)

    return Finding(
        verdict=verdict,
        reason=reason,
        targets=flagged,
        ranking=tuple(ranking),
        score=judged.test.statistic,
        decided_by=judged.test.name,
        tests=(judged.test,),
        columns=(
            column("mask norm", norms, "pixels", "low"),
            column("anomaly index", judged.index),
            column("success", {label: one.success for label, one in found.items()}),
        ),
        artifacts=tuple(
            part
            for label in ranking[:ARTIFACTS_KEPT]
            if found[label].reached
            for part in pictures(classifier, samples, found[label])
        ),
        traces={label: found[label].curve for label in ranking[:ARTIFACTS_KEPT]},
        caveats=tuple(_caveats(classifier, missed)),
        settings={**settings, "threshold": threshold},
        facts={"evaluations": stats.evaluations, "oom_retries": stats.oom_retries, "reached": len(norms)},
        not_clean=_caveats(classifier, missed)[0] if 2 * len(missed) > classifier.classes else None,
    )


def pictures(classifier: Classifier, samples: Samples, one: Found) -> list[Artifact]:
    """A trigger's mask, its pattern, and the first sample of another class with the trigger on it."""
    others = (samples.labels != one.label).nonzero().flatten()
    image = samples.inputs[int(others[0]) if len(others) else 0].cpu().contiguous()
    shown = classifier.domain.project_(stamp(image[None], one.mask, one.pattern))[0]
    return [
        Artifact("triggered sample", one.label, shown),
        Artifact("trigger mask", one.label, one.mask),
        Artifact("trigger pattern", one.label, one.pattern),
    ]


def _caveats(classifier: Classifier, missed: list[int]) -> list[str]:
    if not missed:
        return []
    names = ", ".join(classifier.class_names[label] for label in missed[:5])
    more = f" and {len(missed) - 5} more" if missed[5:] else ""
    return [
        f"No trigger was found that takes enough samples to {names}{more}: such classes are left out of the "
        "comparison."
    ]


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    checks.whole(options, "steps", "batch", "patience", "rows")
    checks.positive(options, "lr", "cost", "multiplier", "threshold")
    if not 0 < options.get("goal", 1) <= 1:
        raise ValueError(f"goal must be in (0, 1], got {options['goal']!r}")
