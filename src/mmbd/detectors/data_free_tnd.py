"""TrojanNetDetector without data (DF-TND; Wang et al., ECCV 2020): what excites the last features.

From random inputs, a small mask and a pattern raise the features before the last layer as far as they
go. In a backdoored network these are the features of the trigger, so that the logit of one class rises
with them. This follows the authors' script; it works in images from 0 to 1, here in shares of the box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback, spent
from mmbd.base.seeds import generator_for
from mmbd.detectors import options as checks
from mmbd.detectors.detector import Detector
from mmbd.detectors.tnd_words import FREE
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.null.mad import outliers
from mmbd.results.finding import Artifact, Column, Finding, Test
from mmbd.search.memory import BatchSize, batch_size
from mmbd.search.raised_features import Recovered, ascend, slopes, watched

SCRIPT_THRESHOLD = 100.0  # logits, for the authors' ResNet-50
CAVEAT = (
    "A logit's increase depends on the network's scale: the outlier among classes is a choice of this "
    "project, and the original's threshold of 100 logits belongs to one ResNet-50."
)


def data_free_tnd(
    classifier: Classifier,
    samples: Samples | None,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    starts: int = 10,
    steps: int = 1000,
    step: float = 0.1,
    gamma: float = 1e-3,
    pattern: float = 0.0,
    through_relu: bool = True,
    threshold: float | None = None,
    outlier: float = 2.0,
    batch: int | None = None,
    memory_limit: int | None = None,
) -> Finding:
    """Excite the last features from random inputs; the class whose logit rises with them is a target.

    The authors call a class a target where its logit rises by more than 100, which is a number of their
    ResNet-50 and means nothing for another network. By default a class is one whose rise is an outlier
    among all classes, on the high side; that is a choice of this project.

    Args:
        classifier: the model under inspection.
        samples: not used: the inputs to begin with are noise, as the script allows.
        level: not used: the decision is by a threshold.
        seed: of the inputs to begin with.
        progress: called after every step.
        starts: inputs to begin with (the script: 10).
        steps: from every start alone, and again from the mean of their masks and patterns (the script:
            1000).
        step: by which masks, patterns and weights change, in shares of the box (the script: 0.1).
        gamma: the weight of the masks' L1 norm (the script: 0.001).
        pattern: where patterns start, as a share of the box (the script: 0). Masks start empty, and a
            pixel's grows only where its pattern is better than the pixel: a darker one at first.
        through_relu: let gradients through the ReLU before the last layer (the script does).
        threshold: of the logit's rise, in logits: the authors' rule in place of the outliers.
        outlier: threshold of the MAD index (own choice: 2, as in Neural Cleanse).
        batch: the most inputs that go through the network at a time; results do not depend on it.
        memory_limit: bytes for activations.

    Raises:
        NotEvaluable: the last linear layer cannot be told, no gradient, or answers that are not finite.
    """
    domain: Any = classifier.domain
    if not hasattr(domain, "low"):
        raise NotEvaluable(f"DF-TND needs inputs in a box, got {domain!r}")
    low, extent = domain.low.to(classifier.device), domain.extent.to(classifier.device)
    drawn = [domain.sample(generator_for("data-free TND", seed, number)) for number in range(starts)]
    start = (torch.stack(drawn).to(classifier.device) - low) / extent
    size = BatchSize(batch or batch_size(classifier, memory_limit, most=starts))
    with torch.inference_mode(False), torch.enable_grad():
        _, features, relus = watched(classifier, low + extent * start)
        found = ascend(
            start,
            slopes(classifier, relus if through_relu else 0, size, low, extent),
            features.shape[1],
            steps=steps,
            step=step,
            gamma=gamma,
            first=pattern,
            progress=spent(progress, "features", 2 * steps * starts),
        )
    settings = {"starts": starts, "steps": steps, "step": step, "gamma": gamma, "through_relu": through_relu}
    settings |= {"pattern": pattern, "threshold": threshold, "outlier": outlier}
    facts = {"evaluations": len(found.curve) * starts, "oom_retries": size.oom_retries}
    facts |= {"features": features.shape[1]}
    return _finding(classifier, found, threshold=threshold, outlier=outlier, settings=settings, facts=facts)


def _finding(
    classifier: Classifier,
    found: Recovered,
    *,
    threshold: float | None,
    outlier: float,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Finding:
    domain: Any = classifier.domain
    low, extent = domain.low.to(found.inputs), domain.extent.to(found.inputs)
    before, after = (logits_of(classifier, low + extent * shares) for shares in (found.start, found.inputs))
    rises = (after - before).double().mean(0).tolist()
    if not all(map(math.isfinite, rises)):
        raise NotEvaluable("the network's answers to valid inputs are not all finite")
    judged = outliers(dict(enumerate(rises)), side="high", threshold=outlier)
    ranking = sorted(range(len(rises)), key=lambda label: (-rises[label], label))
    original = Test(
        "logit increase",
        statistic=rises[ranking[0]],
        threshold=SCRIPT_THRESHOLD if threshold is None else threshold,
    )
    test, flagged, reason = judged.test, judged.flagged, judged.test.reason
    if threshold is not None:
        test, reason = original, None
        flagged = tuple(label for label in ranking if rises[label] > threshold)
    if reason is not None:
        reason = f"the classes cannot be compared: {reason}; give the threshold of a logit's increase"
    top = ranking[0]
    return Finding(
        verdict="not evaluable" if reason else "backdoored" if flagged else "clean",
        reason=reason,
        targets=flagged,
        ranking=tuple(ranking),
        score=test.statistic,
        decided_by=test.name,
        tests=(judged.test, original),
        columns=(
            Column("logit increase", tuple(rises), "logits"),
            Column("anomaly index", tuple(judged.index.get(label) for label in range(len(rises)))),
        ),
        artifacts=(
            Artifact("triggered sample", top, (low + extent * found.inputs[0]).cpu()),
            Artifact("trigger mask", top, found.mask[0].cpu()),
            Artifact("trigger pattern", top, (low + extent * found.pattern[0].clamp(0, 1)).cpu()),
        ),
        traces={top: found.curve},
        caveats=(CAVEAT,),
        settings=settings,
        facts=facts,
    )


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    checks.whole(options, "starts", "steps", "batch")
    given = {name: value for name, value in options.items() if value is not None}
    checks.positive(given, "step", "outlier", "threshold")
    if not 0 <= options.get("pattern", 0) <= 1:
        raise ValueError(f"pattern must be in 0 to 1, got {options['pattern']!r}")
    if not options.get("gamma", 0) >= 0:
        raise ValueError(f"gamma must be at least 0, got {options['gamma']!r}")


DF_TND = Detector(find=data_free_tnd, version=1, about=FREE, check=check)
