"""MM-BM followed by Fine-Pruning (paper, Table 3): a classifier with bounds, pruned and tuned.

The bounds are frozen and stay in force while channels are ranked, pruned and tuned. The result is
one network that has both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmbd.base.progress import ProgressCallback
from mmbd.mitigators.fine_pruning import fine_pruning
from mmbd.mitigators.mitigator import Mitigation, Mitigator, curves_of
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples


def bounds_then_pruning(
    classifier: Classifier,
    samples: Samples,
    *,
    bounding: Mitigator,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    **pruning: Any,
) -> Mitigation:
    """Bound the classifier's activations, then prune and fine-tune what is bounded.

    Args:
        classifier: what to repair.
        samples: clean samples for both; the paper takes 500 a class for Fine-Pruning.
        bounding: the mitigator that learns the bounds, such as `mm_bm_published.paper`.
        seed: of both.
        progress: called by the one and then by the other, each with its own number of steps.
        pruning: options of `fine_pruning`.

    Raises:
        NotMitigated: where either does.
    """
    first = bounding(classifier, samples, seed=seed, progress=progress)
    second = fine_pruning(first.classifier, samples, seed=seed, progress=progress, **pruning)
    own, record = first.record, second.record
    return Mitigation(
        second.classifier,
        replace(
            record,
            method=f"{own.method} + {record.method}",
            settings={own.method: own.settings, record.method: record.settings},
            curves=curves_of((own, record)),
            seconds=own.seconds + record.seconds,
            notes=(*own.notes, *record.notes),
        ),
    )
