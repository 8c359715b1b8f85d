"""Estimate, compare with a null, report: the whole detector on one page (paper, section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mmbd import null as nulls
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback
from mmbd.detectors.believing import of_file
from mmbd.detectors.mm_bd.certainty import caveats, certain
from mmbd.detectors.mm_bd.facts import run_of
from mmbd.detectors.mm_bd.search import Searched, Watch, search
from mmbd.formats.loaded import Loaded
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.info import ModelInfo, describe
from mmbd.null import Judgement, References
from mmbd.null.seeds import pooled
from mmbd.results.report import Report, Stability
from mmbd.search.ascent import FAST
from mmbd.search.maximum_margins import Method, ascent_of

CURVES_KEPT = 24
HARD = "a class was reached from unusual starts alone, which universal perturbations do not have"


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
    model: ModelInfo | None = None,
    progress: ProgressCallback | None = None,
    batch: int | None = None,
    memory_limit: int | None = None,
    limit: float | None = None,
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
            "bootstrap" for inputs that are no images. Tables compare the default search: with
            other settings it is run beside, so that more search never makes a verdict weaker.
        level: the false-positive rate asked for, in (0, 1).
        seed: of the random starts; everything follows from it.
        seeds: repeat the scan with seed, seed + 1, ... and report how stable it is. The verdict
            is that of all seeds together, at the same level (`null.seeds`).
        references: statistics of clean models of the same domain.
        model: what to say about the model's file; made up from the classifier by default.
        progress: called after every step, see `estimate.maximum_margins`.
        batch: the most searches at a time.
        memory_limit: bytes for activations.
        limit: seconds; a scan whose first steps show that it would take longer is given up.
        **settings: fields of `Ascent` to override, such as restarts=8.

    Returns:
        A report; its verdict is "not evaluable", with the reason, where the model cannot be
        judged. Wrong arguments raise ValueError, and `Failed` is raised past the limit.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 6))
        >>> report = scan(Classifier(net, input_shape=(3, 2, 2)))
        >>> report.verdict in ("clean", "backdoored"), len(report.statistics)
        (True, 6)
    """
    if isinstance(classifier, Loaded):
        again = partial(
            scan,
            method=method,
            universal=universal,
            null=null,
            level=level,
            seed=seed,
            seeds=seeds,
            references=references,
            model=model or classifier.model,
            progress=progress,
            batch=batch,
            memory_limit=memory_limit,
            limit=limit,
            **settings,
        )
        return of_file(classifier, again)
    _require_classifier(classifier)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if limit is not None and not limit > 0:
        raise ValueError(f"limit must be more than 0 seconds, got {limit}")
    if null is not None and null not in nulls.NAMES:
        raise ValueError(f"unknown null {null!r}; known: {', '.join(nulls.NAMES)}")
    if null == "reference" and references is None:
        raise ValueError("null='reference' needs reference models")
    ascent = ascent_of(method, settings)
    images = kind_of(classifier.domain) == "image"
    # What the shipped tables know is searched for too, unless the user names what decides.
    tables = (None, "joint", "population") if method == "fast" else (None,)
    beside = images and ascent != FAST and null in tables
    universal = images and (method == "fast" or beside) if universal is None else universal
    if null == "joint" and images and not universal:
        raise ValueError("null='joint' needs universal=True")
    model = model or describe(classifier)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    asked: dict[str, Any] = {"method": method, "universal": universal, "settings": settings}
    watch = Watch(classifier, progress, limit, seeds=seeds, beside=beside, **asked)
    try:
        found = [
            search(
                classifier,
                seed=number,
                beside=beside,
                watch=watch,
                batch=batch,
                memory_limit=memory_limit,
                **asked,
            )
            for number in range(seed, seed + seeds)
        ]
    except NotEvaluable as error:
        return unevaluable(str(error), model=model, level=level, names=classifier.class_names)
    run = run_of(found, method=method, seed=seed, started=started, device=str(classifier.device))
    judge = partial(
        nulls.judge,
        made_by=run.made_by,
        level=level,
        null=null,
        references=references,
        names=classifier.class_names,
        images=images,
    )
    judgements = [_judged(one, judge) for one in found]
    place, judged = pooled(judgements, level)
    shown = found[place]
    judged = certain(judged, found, classifier.class_names)
    statistics = shown.statistics
    order = sorted(shown.margins.curves, key=lambda label: -statistics.get(label, -math.inf))
    return Report(
        verdict=judged.verdict,
        reason=judged.reason,
        targets=judged.targets,
        p_value=judged.p_value,
        level=level,
        null=judged.null,
        p_values=judged.p_values,
        statistics=_by_class(statistics, classifier.classes),
        class_p_values=None
        if judged.class_p_values is None
        else _by_class(judged.class_p_values, classifier.classes),
        class_names=classifier.class_names,
        ratio=_ratio(statistics),
        stability=_stability(found, judgements, shown.seed) if seeds > 1 else None,
        model=model,
        run=run,
        caveats=caveats(shown, judged, images=images),
        curves={label: shown.margins.curves[label] for label in order[:CURVES_KEPT]},
        gains=None if shown.gains is None else _by_class(shown.gains.by_class, classifier.classes),
        evidence=None if judged.evidence == statistics else _by_class(judged.evidence, classifier.classes),
        inputs=shown.margins.inputs,
    )


def _judged(one: Searched, judge: Callable[..., Judgement]) -> Judgement:
    """What the nulls say of one seed.

    Classes that were reached from unusual starts alone have no gain to speak of: margins judge all
    classes, and the joint null those that have one, so that neither hides behind the other.
    """
    ask = partial(judge, one.statistics, beside=one.tabled)
    if not one.reached.statistics:
        return ask(gains=one.gains)
    alone, rest = ask(gains=None, without_gains=HARD), ask(gains=one.comparable_gains)
    return rest if rest.targets and not alone.targets else alone


def _require_classifier(given: object) -> None:
    if not isinstance(given, Classifier):
        raise TypeError(
            f"expected an mmbd.Classifier, got {type(given).__name__}; wrap the model: "
            f"mmbd.Classifier(model, input_shape=(3, 32, 32))"
        )


def unevaluable(reason: str, *, model: ModelInfo, level: float, names: Sequence[str] = ()) -> Report:
    """A report without statistics."""
    return Report(
        verdict="not evaluable",
        reason=reason,
        targets=(),
        p_value=None,
        level=level,
        null=None,
        p_values=(),
        statistics=(None,) * len(names),
        class_p_values=None,
        class_names=tuple(names),
        ratio=None,
        stability=None,
        model=model,
        run=None,
        caveats=(),
    )


def _by_class(values: Mapping[int, float], classes: int) -> tuple[float | None, ...]:
    return tuple(values.get(label) for label in range(classes))


def _ratio(statistics: Mapping[int, float]) -> float | None:
    ordered = sorted(statistics.values(), reverse=True)
    if len(ordered) < 2 or ordered[1] <= 0:
        return None
    return ordered[0] / ordered[1]


def _stability(found: Sequence[Searched], judgements: Sequence[Judgement], decides: int) -> Stability:
    return Stability(
        seeds=tuple(one.seed for one in found),
        winners=tuple(
            max(judged.evidence, key=lambda label: judged.evidence[label], default=0) for judged in judgements
        ),
        p_values=tuple(judged.p_value for judged in judgements),
        decides=decides,
    )
