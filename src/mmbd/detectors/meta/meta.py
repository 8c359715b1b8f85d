"""META (Xu et al. 2021, Meta Neural Trojan Detection, with jumbo learning) as a detector."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.detectors.detector import About, Detector
from mmbd.detectors.meta.trained import Meta
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.results.finding import Artifact, Finding, Test

TEST = "meta-classifier"
THRESHOLDS = ("validated", "median")
WEAK = 0.75  # AUC on the held-out shadow models from which on there is no caveat
SURE = 0.05  # how likely so high an AUC may be by chance, where anything is to be said of models

ABOUT = About(
    title="META: a classifier trained on clean and backdoored shadow models judges what a model answers "
    "to its queries",
    source="Xu, Wang, Li, Borisov, Gunter and Li, IEEE Symposium on Security and Privacy, 2021",
    rule="A classifier of models, trained on clean and backdoored ones, takes it for one with a backdoor.",
    mark=(
        "Networks with a backdoor answer some inputs, which need not hold the trigger, in another way than "
        "clean ones do. Which inputs and which answers, is learned from shadow models with random "
        "backdoors."
    ),
    backdoored=(
        "The model's answers to learned queries are like those of shadow models with a backdoor. {chance} No "
        "target class is named. It is evidence, not a proof of intent: a model that was trained in another "
        "way than the shadow models may answer unlike the clean ones, too."
    ),
    clean="The model's answers to learned queries are like those of clean shadow models. {chance}",
    artifacts=(
        "The queries",
        "Inputs that were learned with the meta-classifier. They are the same for every model, may lie "
        "beyond valid inputs, and show no trigger.",
    ),
    tests={TEST: ("meta-classifier", "the logit of a classifier trained on shadow models")},
    advice={
        "backdoored": ("Ask a detector that names the class, such as mm-bd, before anything is repaired.",)
    },
)


def meta(
    classifier: Classifier,
    samples: Samples | None = None,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    shadow_models: Meta,
    threshold: float | str = "validated",
) -> Finding:
    """Ask the model the queries of a meta-classifier, and judge its answers.

    The score is the mean logit over the repeats of the meta-classifier. No class is named.

    Args:
        classifier: the model under inspection, of the meta-classifier's input shape and number of
            classes. It is asked in eval mode (the original leaves dropout on).
        samples: not needed, and not used.
        level: not used: the threshold decides.
        seed: not used: nothing is random.
        progress: called once.
        shadow_models: see `train.train_meta`.
        threshold: what the score has to exceed. "validated" is the one that tells the held-out
            shadow models apart best; "median" the median of their logits, as in the authors' script,
            which supposes that half of all models are backdoored; or a number.

    Raises:
        NotEvaluable: another shape or number of classes, answers that are not finite, or a
            meta-classifier that tells the shadow models that were held out apart no better than chance
            would, at 5 %.
    """
    started = time.monotonic()
    known = shadow_models
    _require_alike(classifier, known)
    cut = {"validated": known.threshold, "median": known.median}.get(str(threshold), threshold)
    queries = known.parts.queries.flatten(0, 1)
    inputs = _in_units_of(classifier, queries, known.bounds).to(classifier.device)
    logits = logits_of(classifier, inputs).cpu()
    if not bool(logits.isfinite().all()):
        raise NotEvaluable("the model's answers to the queries are not finite")
    votes = known.parts.decide(logits, standardise=known.standardise)
    score = float(votes.double().mean())
    if progress is not None:
        progress(Progress("queries", len(inputs), len(inputs), "answers", time.monotonic() - started))
    return Finding(
        verdict="backdoored" if score > float(cut) else "clean",
        score=score,
        decided_by=TEST,
        tests=(Test(TEST, statistic=score, threshold=float(cut)),),
        artifacts=tuple(
            Artifact("query", None, query.cpu()) for query in inputs[: known.parts.queries.shape[1]]
        ),
        caveats=_caveats(known),
        settings={
            "threshold": threshold,
            "standardise": known.standardise,
            "repeats": len(votes),
            "queries": known.parts.queries.shape[1],
            "shadow_models": dict(known.shadows),
        },
        facts={
            "evaluations": len(inputs),
            "samples_used": 0,
            "validation_auc": known.auc,
            "repeats_above": int((votes > float(cut)).sum()),
        },
    )


def _require_alike(classifier: Classifier, known: Meta) -> None:
    shape = tuple(classifier.domain.shape)
    if shape != known.input_shape or classifier.classes != known.classes:
        raise NotEvaluable(
            f"the shadow models take inputs of {known.input_shape} and have {known.classes} classes; this "
            f"model takes {shape} and has {classifier.classes}: train shadow models for its task "
            "(mmbd shadows)"
        )
    if not isinstance(classifier.domain, Box):
        raise NotEvaluable("the queries are made for inputs within bounds; this model's are another set")
    if not by_chance(known.auc, len(known.clean), len(known.jumbo)) <= SURE:
        raise NotEvaluable(
            "the meta-classifier tells its own shadow models apart no better than chance would (AUC "
            f"{known.auc:.2f} on the {len(known.clean)} clean and {len(known.jumbo)} backdoored ones held "
            "out): train more shadow models, or longer (mmbd shadows)"
        )


def by_chance(auc: float, clean: int, backdoored: int) -> float:
    """How often so high an AUC comes about by chance (Mann and Whitney 1947, normal approximation)."""
    spread = math.sqrt((clean + backdoored + 1) / (12 * clean * backdoored))
    return 0.5 * math.erfc((auc - 0.5) / spread / math.sqrt(2))


def _in_units_of(classifier: Classifier, queries: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Queries in the units of the model's own inputs; as they are, where these are the same."""
    domain = classifier.domain
    assert isinstance(domain, Box)
    low, high = bounds
    if bool((domain.low == low).all()) and bool((domain.high == high).all()):
        return queries
    return domain.low + (queries - low) / (high - low) * domain.extent


def _caveats(known: Meta) -> tuple[str, ...]:
    architecture = known.shadows.get("architecture", "unknown")
    said = [
        f"It was trained on shadow models of {architecture}: of models of another architecture, or that "
        "were trained on other data or in another way, it knows nothing for certain.",
        f"Its threshold rests on {len(known.clean)} clean and {len(known.jumbo)} backdoored shadow models, "
        "and not on the false-positive rate asked for.",
    ]
    if known.auc < WEAK:
        said.append(f"It hardly tells its own shadow models apart: AUC {known.auc:.2f} on those held out.")
    return tuple(said)


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    given, threshold = options.get("shadow_models"), options.get("threshold", "validated")
    if given is not None and not isinstance(given, Meta | str | Path):
        raise ValueError(
            f"shadow_models must be a meta-classifier or its file, got {type(given).__name__}: "
            "mmbd shadows makes one"
        )
    number = isinstance(threshold, int | float) and torch.tensor(float(threshold)).isfinite()
    if not number and threshold not in THRESHOLDS:
        raise ValueError(f"threshold must be a number or one of {', '.join(THRESHOLDS)}, got {threshold!r}")


META = Detector(
    find=meta,
    version=1,
    about=ABOUT,
    needs=frozenset({"shadow models"}),
    kinds=frozenset({"image", "sound"}),
    files={"shadow_models": Meta.load},
    check=check,
)
