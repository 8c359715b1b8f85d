"""Estimate, compare with a null, report: the whole detector on one page (paper, section 5.2)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mmbd import null as nulls
from mmbd.classifier import Classifier
from mmbd.describing import describe, mishaps, run_of, valid
from mmbd.errors import NotEvaluable
from mmbd.estimate import MaximumMargins, Method, Progress, maximum_margins
from mmbd.load import Loaded
from mmbd.null import Gains, References
from mmbd.report import Model, Report, Stability
from mmbd.universal import UniversalGains, universal_gains

CURVES_KEPT = 24
BLIND_SPOTS = (
    "An all-to-all attack, in which every class is a target, needs reference models to be seen.",
    "A trainer who knew this test and fought it can pass it.",
    "A backdoor that seldom works (attack success rate below about 80 %) may not stand out.",
    "Strong class imbalance in training can make a clean model's largest class stand out.",
    "A clean model that fits its training data poorly (below about 90 %) is flagged more often.",
)

NO_IMAGES = (
    "The inputs are no images, of which the tables of clean classifiers are: without reference "
    "models the model's own statistics judge it, and with ten classes they find little."
)


def scan(
    classifier: Classifier | Loaded,
    *,
    method: Method = "fast",
    universal: bool | None = None,
    null: str | None = None,
    level: float = 0.05,
    seed: int = 0,
    seeds: int = 1,
    references: References | None = None,
    model: Model | None = None,
    progress: Callable[[Progress], None] | None = None,
    batch: int | None = None,
    memory_limit: int | None = None,
    **settings: Any,
) -> Report:
    """Test a classifier for a backdoor; no data needed.

    Args:
        classifier: the model under inspection, or what `load` returned; left exactly as it was.
        method: "fast", or "paper" for the procedure of the paper (about 100 times slower).
        universal: whether to search for universal perturbations as well, which the joint null
            needs; by default with the fast method only, and for images. It takes about as long
            again.
        null: which p-value decides: "joint", "population", "bootstrap", "paper", "authors" or
            "reference". By default "reference" where references are given and numerous enough
            for the level, else "joint"; without universal perturbations "population", and
            "bootstrap" with settings that these tables were not made for, or for inputs that are
            no images.
        level: the false-positive rate asked for, in (0, 1).
        seed: of the random starts; everything follows from it.
        seeds: repeat the scan with seed, seed + 1, ... and report how stable it is. The verdict
            is the first seed's.
        references: statistics of clean models of the same domain.
        model: what to say about the model's file; made up from the classifier by default.
        progress: called after every step, see `estimate.maximum_margins`.
        batch: the most searches at a time.
        memory_limit: bytes for activations.
        **settings: fields of `Ascent` to override, such as restarts=8.

    Returns:
        A report; its verdict is "not evaluable", with the reason, where the model cannot be
        judged. Wrong arguments raise ValueError.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 6))
        >>> report = scan(Classifier(net, input_shape=(3, 2, 2)))
        >>> report.verdict in ("clean", "backdoored"), len(report.statistics)
        (True, 6)
    """
    if isinstance(classifier, Loaded):
        loaded, classifier = classifier, classifier.classifier
        report = scan(
            classifier, method=method, universal=universal, null=null, level=level, seed=seed,
            seeds=seeds, references=references, model=model or loaded.model, progress=progress,
            batch=batch, memory_limit=memory_limit, **settings,
        )  # fmt: skip
        return replace(report, caveats=(*loaded.notes, *report.caveats))
    _require_classifier(classifier)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if null is not None and null not in nulls.NAMES:
        raise ValueError(f"unknown null {null!r}; known: {', '.join(nulls.NAMES)}")
    if null == "reference" and references is None:
        raise ValueError("null='reference' needs reference models")
    images = len(classifier.domain.shape) == 3
    universal = method == "fast" and images if universal is None else universal
    if null == "joint" and images and not universal:
        raise ValueError("null='joint' needs universal=True")
    model = model or describe(classifier)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    found: list[MaximumMargins] = []
    gained: list[UniversalGains | None] = []
    limits: dict[str, Any] = {"batch": batch, "memory_limit": memory_limit}
    try:
        for number in range(seed, seed + seeds):
            margins = maximum_margins(
                classifier, method=method, seed=number, progress=progress, **limits, **settings
            )
            found.append(margins)
            told = _further(progress, margins, classifier.classes)
            gained.append(
                universal_gains(classifier, seed=number, progress=told, **limits)
                if universal
                else None
            )
    except NotEvaluable as error:
        return unevaluable(str(error), model=model, level=level, names=classifier.class_names)
    first = found[0]
    run = run_of(
        found, gained, method=method, seed=seed, started=started, device=str(classifier.device)
    )
    statistics = [valid(margins) for margins in found]
    gains = [_gains(gain) for gain in gained]
    judge = partial(
        nulls.judge, made_by=run.made_by, level=level, null=null, references=references,
        names=classifier.class_names, images=images,
    )  # fmt: skip
    judgements = [judge(values, gains=gain) for values, gain in zip(statistics, gains, strict=True)]
    judged, order = judgements[0], _order(first)
    return Report(
        verdict=judged.verdict,
        reason=judged.reason,
        targets=judged.targets,
        p_value=judged.p_value,
        level=level,
        null=judged.null,
        p_values=judged.p_values,
        statistics=_by_class(statistics[0], classifier.classes),
        class_p_values=None
        if judged.class_p_values is None
        else _by_class(judged.class_p_values, classifier.classes),
        class_names=classifier.class_names,
        ratio=_ratio(statistics[0]),
        stability=_stability(statistics, judgements, seed) if seeds > 1 else None,
        model=model,
        run=run,
        caveats=_caveats(first, images=images, references=judged.null == "reference"),
        curves={label: first.curves[label] for label in order[:CURVES_KEPT]},
        gains=None if gains[0] is None else _by_class(gains[0].by_class, classifier.classes),
        inputs=first.inputs,
    )


def _caveats(found: MaximumMargins, *, images: bool, references: bool) -> tuple[str, ...]:
    own = () if images or references else (NO_IMAGES,)
    return (*mishaps(found), *BLIND_SPOTS[references:], *own)


def _require_classifier(given: object) -> None:
    if not isinstance(given, Classifier):
        raise TypeError(
            f"expected an mmbd.Classifier, got {type(given).__name__}; wrap the model: "
            f"mmbd.Classifier(model, input_shape=(3, 32, 32))"
        )


def unevaluable(reason: str, *, model: Model, level: float, names: Sequence[str] = ()) -> Report:
    """A report without statistics."""
    return Report(
        verdict="not evaluable", reason=reason, targets=(), p_value=None, level=level, null=None,
        p_values=(), statistics=(None,) * len(names), class_p_values=None,
        class_names=tuple(names), ratio=None, stability=None, model=model, run=None, caveats=(),
    )  # fmt: skip


def _gains(found: UniversalGains | None) -> Gains | None:
    """The gains that count, by class; None where nothing was searched for."""
    if found is None:
        return None
    by_class = {
        label: gain for label, gain in enumerate(found.gains.tolist()) if math.isfinite(gain)
    }
    return Gains(by_class, json.dumps(asdict(found.search), sort_keys=True))


def _further(
    progress: Callable[[Progress], None] | None, margins: MaximumMargins, classes: int
) -> Callable[[int, int], None]:
    """Goes on reporting where the search for maximum margins ended."""
    start = time.perf_counter()

    def told(done: int, evaluations: int) -> None:
        if progress is not None:
            progress(Progress(
                searches_done=margins.margins.numel(), searches=margins.margins.numel(),
                classes_done=done, classes=classes,
                evaluations=margins.evaluations + evaluations,
                evaluations_expected=margins.evaluations + evaluations * classes // max(done, 1),
                seconds=margins.seconds + time.perf_counter() - start,
            ))  # fmt: skip

    return told


def _order(found: MaximumMargins) -> list[int]:
    """Classes by falling statistic, those with a curve only."""
    statistics = found.statistics.tolist()
    return sorted(found.curves, key=lambda label: -statistics[label])


def _by_class(values: Mapping[int, float], classes: int) -> tuple[float | None, ...]:
    return tuple(values.get(label) for label in range(classes))


def _ratio(statistics: Mapping[int, float]) -> float | None:
    ordered = sorted(statistics.values(), reverse=True)
    if len(ordered) < 2 or ordered[1] <= 0:
        return None
    return ordered[0] / ordered[1]


def _stability(
    statistics: Sequence[Mapping[int, float]], judgements: Sequence[nulls.Judgement], seed: int
) -> Stability:
    return Stability(
        seeds=tuple(range(seed, seed + len(statistics))),
        winners=tuple(
            max(values, key=lambda label: values[label], default=0) for values in statistics
        ),
        p_values=tuple(judged.p_value for judged in judgements),
    )
