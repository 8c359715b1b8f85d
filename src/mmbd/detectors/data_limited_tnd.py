"""TrojanNetDetector with a few clean images (DL-TND; Wang et al., ECCV 2020).

What moves all images of other classes away, but none of one class, and what moves each of them to that
class by itself, meet in a backdoored network: both use the trigger. So the network answers both alike.
The paper compares what it calls internal representations; which layer these are of could not be had, and
the authors' script, which this follows, compares logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback, spent
from mmbd.detectors import options as checks
from mmbd.detectors.detector import Detector
from mmbd.detectors.reversed_triggers import ARTIFACTS_KEPT, pictures
from mmbd.detectors.tnd_words import LIMITED
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Column, Finding, Test
from mmbd.search.mask_pattern import Found
from mmbd.search.proximal_masks import Problem, Search, away, search
from mmbd.search.proximal_plans import Bisection, Once
from mmbd.search.raised_features import watched
from mmbd.search.stamping import box


def data_limited_tnd(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    compare: Literal["logits", "features"] = "logits",
    steps: int = 101,
    lr: float = 0.01,
    first: float = 0.01,
    largest: float = 6.0,
    values: int = 8,
    image_lr: float = 0.1,
    image_c: float = 1.0,
    confidence: float = 15.0,
    goal: float = 0.7,
    levels: float = 255.0,
    near: float = 1.1,
    quantile: float = 0.25,
    threshold: float = 0.75,
    rows: int | None = None,
    memory_limit: int | None = None,
) -> Finding:
    """Compare a class's universal perturbation with those of single images that lead to the class.

    The universal one moves images of other classes away from these and keeps the class's own. Nothing
    in it is random. A class for which it was never successful is marked and left out. The script also
    lets in the first run, whose mask is empty, and the area of any smaller than 0.5 does not count; here
    those of successful runs count that are not empty. Where several classes are flagged the script names
    the last one, and this the most similar one, as the only target.

    Args:
        classifier: the model under inspection.
        samples: clean ones of all classes; the paper takes 5 a class.
        level: not used: the decision is by `threshold`.
        seed: not used.
        progress: called after every step.
        compare: the cosine of logits (the script), or of the inputs of the last linear layer (own
            choice for the paper's internal representation, whose layer could not be had).
        steps: iterations a run (the script: 101).
        lr: Adam's, for universal perturbations (the script: 0.01).
        first: the first c, by one part of which the masks' L1 norm is weighed (the script: 0.01).
        largest: c stays below this (the script: 6).
        values: how many c are tried, by bisection (the script: 8).
        image_lr: Adam's, for single images (the script: 0.1).
        image_c: c for single images (the script: 1).
        confidence: where a hinge ends, in logits (the script: 15).
        goal: a run is a success where more than this share of images are where they should be (the
            script: 0.7).
        levels: the units of patterns in the box: they start one above its lowest value, and learning
            rates are in these units for them. With the script's 255 a pattern stays nearly black, so
            only dark triggers are found (those of the authors' models are dark). With 1 it starts white.
        near: solutions of a class count if their mask's area is below this times the smallest of all
            classes (the script: 1.1).
        quantile: of a class's similarities, its statistic (the script: 0.25).
        threshold: of the statistic (the script: 0.75).
        rows: the most searches side by side; results do not depend on it.
        memory_limit: bytes for activations.

    Raises:
        NotEvaluable: no class with a universal perturbation, or a network without gradients.
    """
    represent = partial(_features, classifier) if compare == "features" else None
    problem = partial(
        Problem,
        classifier,
        samples,
        steps=steps,
        confidence=confidence,
        goal=goal,
        levels=levels,
        represent=represent,
    )
    run = partial(search, rows=rows, memory_limit=memory_limit)
    labels, count, classes = samples.labels, len(samples.labels), classifier.classes
    tell = spent(progress, "perturbations", 2 * count * steps * classes * (values + 1))

    universal = {label: Bisection(first, largest, values) for label in range(classes)}
    shared = run(problem(lr=lr), _of_all(universal, labels), count, progress=tell)
    others = {label: (labels != label).nonzero() for label, plan in universal.items() if plan.kept}
    others = {label: places for label, places in others.items() if len(places)}
    if not others:
        raise NotEvaluable(
            f"for no class a perturbation was found that has more than {goal:.0%} of the samples where they "
            "should be: all others elsewhere than at their class, and its own where they are"
        )
    single = {label: [Once(image_c) for _ in places] for label, places in others.items()}
    alone = run(
        problem(lr=image_lr),
        _of_one(single, others),
        1,
        progress=lambda evaluations: tell(shared.evaluations + evaluations),
    )
    found = {
        label: _alike(universal[label], single[label], places, near * _smallest(universal), quantile)
        for label, places in others.items()
    }
    settings = {"compare": compare, "steps": steps, "lr": lr, "first": first, "largest": largest}
    settings |= {"values": values, "image_lr": image_lr, "image_c": image_c, "confidence": confidence}
    settings |= {"goal": goal, "levels": levels, "near": near, "quantile": quantile, "threshold": threshold}
    facts = {
        "evaluations": shared.evaluations + alone.evaluations,
        "oom_retries": shared.oom_retries + alone.oom_retries,
        "reached": len(found),
    }
    reached = {label: sum(one.reached for one in ones) / len(ones) for label, ones in single.items()}
    return _finding(
        problem(lr=lr), universal, found, reached, threshold=threshold, settings=settings, facts=facts
    )


def _of_all(universal: Mapping[int, Bisection], labels: Tensor) -> list[Search]:
    places = torch.arange(len(labels), device=labels.device)
    return [
        Search(places, torch.where(labels == label, labels, away(labels)), plan)
        for label, plan in universal.items()
    ]


def _of_one(single: Mapping[int, list[Once]], others: Mapping[int, Tensor]) -> list[Search]:
    return [
        Search(place, torch.full_like(place, label), plan)
        for label, places in others.items()
        for place, plan in zip(places, single[label], strict=True)
    ]


def _smallest(universal: Mapping[int, Bisection]) -> float:
    return min(area for plan in universal.values() for area, _ in plan.kept)


def _alike(plan: Bisection, single: list[Once], places: Tensor, limit: float, quantile: float) -> float:
    """The quantile of the similarities of the class's universal solution with single images' own.

    It is that of the smallest mask, whatever its area, or of another one below the limit, if its quantile is
    above the former's median, as in the script; images whose own search missed the class count, too. The
    column "taken alone" says how many did not.
    """
    alone = torch.stack([one.answers for one in single if one.answers is not None]).double()
    rows = places.flatten().cpu()
    ordered = sorted(plan.kept, key=lambda kept: kept[0])
    cosines = [(area, torch.cosine_similarity(answers[rows].double(), alone)) for area, answers in ordered]
    best = float(cosines[0][1].quantile(quantile))
    median = float(cosines[0][1].quantile(0.5))
    near = [float(values.quantile(quantile)) for area, values in cosines[1:] if area < limit]
    return max([best, *(value for value in near if value > median)])


def _features(classifier: Classifier, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return watched(classifier, inputs)[1]


def _finding(
    problem: Problem,
    universal: Mapping[int, Bisection],
    found: Mapping[int, float],
    reached: Mapping[int, float],
    *,
    threshold: float,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Finding:
    classifier = problem.classifier
    missed = [label for label in universal if label not in found]
    ranking = [*sorted(found, key=lambda label: (-found[label], label)), *missed]
    flagged = tuple(label for label in ranking if found.get(label, -1.0) > threshold)
    test = Test("similarity", statistic=found[ranking[0]], threshold=threshold)
    shown = [label for label in ranking[:ARTIFACTS_KEPT] if label in found]
    areas = {label: plan.smallest.area for label, plan in universal.items() if plan.smallest is not None}

    def column(name: str, values: Mapping[int, float], unit: str = "", suspicious: Any = "high") -> Column:
        return Column(name, tuple(values.get(label) for label in range(classifier.classes)), unit, suspicious)

    return Finding(
        verdict="backdoored" if flagged else "clean",
        targets=flagged[:1],
        ranking=tuple(ranking),
        score=test.statistic,
        decided_by=test.name,
        tests=(test,),
        columns=(
            column("similarity", found),
            column("mask area", areas, "values", "low"),
            column("taken alone", reached, "", ""),
        ),
        artifacts=tuple(
            part
            for label in shown
            for part in pictures(classifier, problem.samples, _trigger(problem, universal[label], label))
        ),
        traces={label: tuple(universal[label].areas) for label in shown},
        caveats=tuple(_caveats(classifier, missed)),
        settings=settings,
        facts=facts,
        # The threshold is of each class alone: a class without a perturbation was not examined.
        not_clean=_caveats(classifier, missed)[0] if missed else None,
    )


def _trigger(problem: Problem, plan: Bisection, label: int) -> Found:
    """The smallest universal perturbation of a class."""
    best = plan.smallest
    assert best is not None, "only classes with a perturbation are shown"
    low, extent = box(problem.classifier.domain, best.pattern)
    mask, pattern = (part.movedim(-1, 0).contiguous() for part in (best.mask, low + extent * best.pattern))
    return Found(label, mask, pattern, best.area, best.share, True, tuple(plan.areas))


def _caveats(classifier: Classifier, missed: list[int]) -> list[str]:
    if not missed:
        return []
    names = ", ".join(classifier.class_names[label] for label in missed[:5])
    more = f" and {len(missed) - 5} more" if missed[5:] else ""
    return [f"No universal perturbation was found for {names}{more}: nothing is said of such classes."]


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    checks.whole(options, "steps", "values", "rows")
    checks.positive(options, "lr", "first", "largest", "image_lr", "image_c", "confidence", "levels", "near")
    for name in ("goal", "quantile"):
        if not 0 < options.get(name, 0.5) < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {options[name]!r}")
    if options.get("compare", "logits") not in ("logits", "features"):
        raise ValueError(f"compare must be 'logits' or 'features', got {options['compare']!r}")


DL_TND = Detector(
    find=data_limited_tnd, version=1, about=LIMITED, needs=frozenset({"samples"}), per_class=5, check=check
)
