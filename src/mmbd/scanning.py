"""Estimate, compare with a null, report: the whole detector on one page (paper, section 5.2)."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mmbd import __version__
from mmbd import null as nulls
from mmbd.classifier import Classifier
from mmbd.errors import NotEvaluable
from mmbd.estimate import MaximumMargins, Method, Progress, maximum_margins
from mmbd.load import Loaded
from mmbd.null import References
from mmbd.report import Model, Report, Run, Stability

CURVES_KEPT = 24
BLIND_SPOTS = (
    "An all-to-all attack, in which every class is a target, needs reference models to be seen.",
    "A trainer who knew this test and fought it can pass it.",
    "A backdoor that seldom works (attack success rate below about 80 %) may not stand out.",
    "Strong class imbalance in training can make a clean model's largest class stand out.",
)


def scan(
    classifier: Classifier | Loaded,
    *,
    method: Method = "fast",
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
        null: which p-value decides: "population", "bootstrap", "paper", "authors" or
            "reference". By default "reference" where references are given and numerous enough
            for the level, else "population" ("bootstrap" with settings it was not made for).
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
            classifier, method=method, null=null, level=level, seed=seed, seeds=seeds,
            references=references, model=model or loaded.model, progress=progress, batch=batch,
            memory_limit=memory_limit, **settings,
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
    model = model or describe(classifier)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    found: list[MaximumMargins] = []
    try:
        for number in range(seeds):
            margins = maximum_margins(
                classifier, method=method, seed=seed + number, batch=batch,
                memory_limit=memory_limit, progress=progress, **settings,
            )  # fmt: skip
            found.append(margins)
    except NotEvaluable as error:
        return unevaluable(str(error), model=model, level=level, names=classifier.class_names)
    first = found[0]
    run = _run(found, method=method, seed=seed, started=started, device=str(classifier.device))
    statistics = _valid(first)
    judge = partial(nulls.judge, made_by=run.made_by, level=level, null=null, references=references)
    judged = judge(statistics)
    order = _order(first)
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
        stability=_stability(found, seed, judge) if seeds > 1 else None,
        model=model,
        run=run,
        caveats=(*_mishaps(first), *BLIND_SPOTS[references is not None :]),
        curves={label: first.curves[label] for label in order[:CURVES_KEPT]},
        inputs=first.inputs,
    )


def _require_classifier(given: object) -> None:
    if not isinstance(given, Classifier):
        raise TypeError(
            f"expected an mmbd.Classifier, got {type(given).__name__}; wrap the model: "
            f"mmbd.Classifier(model, input_shape=(3, 32, 32))"
        )


def describe(classifier: Classifier) -> Model:
    """What can be said of a model that came from memory."""
    from torch import nn

    network = classifier.model
    name = type(network).__name__ if isinstance(network, nn.Module) else repr(network)
    parameters = classifier.parameter_count
    return Model(
        name=name, file=None, sha256=None, bytes=None, format=None, architecture=name,
        parameters=parameters, domain=repr(classifier.domain),
        input_shape=classifier.domain.shape, bounds=classifier.domain.bounds,
        mean=classifier.mean, std=classifier.std,
    )  # fmt: skip


def unevaluable(reason: str, *, model: Model, level: float, names: Sequence[str] = ()) -> Report:
    """A report without statistics."""
    return Report(
        verdict="not evaluable", reason=reason, targets=(), p_value=None, level=level, null=None,
        p_values=(), statistics=(None,) * len(names), class_p_values=None,
        class_names=tuple(names), ratio=None, stability=None, model=model, run=None, caveats=(),
    )  # fmt: skip


def _valid(found: MaximumMargins) -> dict[int, float]:
    """The statistics that count, by class."""
    return {
        label: value
        for label, value in enumerate(found.statistics.tolist())
        if found.valid[label] and math.isfinite(value)
    }


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
    found: list[MaximumMargins], seed: int, judge: Callable[[Mapping[int, float]], nulls.Judgement]
) -> Stability:
    each = [_valid(margins) for margins in found]
    return Stability(
        seeds=tuple(range(seed, seed + len(found))),
        winners=tuple(max(values, key=lambda label: values[label], default=0) for values in each),
        p_values=tuple(judge(values).p_value for values in each),
    )


def _run(found: list[MaximumMargins], *, method: str, seed: int, started: str, device: str) -> Run:
    import torch

    first = found[0]
    return Run(
        method=method,
        settings=asdict(first.ascent),
        seed=seed,
        evaluations=sum(margins.evaluations for margins in found),
        seconds=sum(margins.seconds for margins in found),
        batch=first.batch,
        retreats=sum(margins.retreats for margins in found),
        converged=int(first.converged.sum()),
        searches=first.margins.numel(),
        dead=int(first.dead.sum()),
        device=device,
        started=started,
        versions={
            "mmbd": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _mishaps(found: MaximumMargins) -> list[str]:
    """What went less than smoothly, in sentences."""
    sentences: list[str] = []
    invalid = [label for label, valid in enumerate(found.valid.tolist()) if not valid]
    if invalid:
        sentences.append(
            f"{len(invalid)} of {len(found.valid)} classes could not be searched: the gradient was "
            f"zero at every start. They are left out."
        )
    stuck = sum(value <= 0 for value in _valid(found).values())
    if stuck:
        sentences.append(
            f"{stuck} classes never won a single input: their searches may have got stuck."
        )
    if found.retreats:
        sentences.append(
            f"Memory ran out {found.retreats} times; the batch was cut to {found.batch}."
        )
    counts = Counter(found.dead.sum(1).tolist())
    partly = sum(count for dead, count in counts.items() if 0 < dead < found.dead.shape[1])
    if partly:
        sentences.append(f"In {partly} classes some of the searches had no gradient to start from.")
    return sentences
