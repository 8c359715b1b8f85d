"""Mitigators, one file each: they take a backdoor out of a classifier, from a few clean samples.

`mitigate` is the way in. A new method is a file with a function of `mitigator.Mitigator`'s kind,
and a row in `MITIGATORS`.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

from mmbd.base.errors import NotMitigated
from mmbd.formats.loaded import Loaded
from mmbd.mitigators.automatic import automatic
from mmbd.mitigators.bounds import paper, script
from mmbd.mitigators.bounds_then_pruning import bounds_then_pruning
from mmbd.mitigators.distillation import distillation
from mmbd.mitigators.fine_pruning import fine_pruning
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.margin_clipping import margin_clipping
from mmbd.mitigators.mitigator import Mitigation, Mitigator, Progress, Record
from mmbd.mitigators.tuned import tuned
from mmbd.mitigators.unlearning import unlearning
from mmbd.model.bounded import same_weights
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare

MITIGATORS: dict[str, Any] = {
    "auto": automatic,
    "mm-bm": tuned,
    "mm-bm-paper": paper,
    "mm-bm-script": script,
    "margin-clipping": margin_clipping,
    "hardening": hardening,
    "fine-pruning": fine_pruning,
    "mm-bm-fine-pruning": partial(bounds_then_pruning, bounding=tuned),
    "distillation": distillation,
    "unlearning": unlearning,
}
SHORT = {"paper": "mm-bm-paper", "script": "mm-bm-script"}  # of MM-BM
NOT_OPTIONS = {"classifier", "samples", "seed", "progress", "bounding", "pruning", "teacher"}
# What needs nothing but clean samples; unlearning needs a trigger.
METHODS = tuple(name for name in (*MITIGATORS, *SHORT) if name != "unlearning")


def options_of(name: str) -> tuple[str, ...]:
    """The options of a method, sorted."""
    parts = (MITIGATORS[name], *((fine_pruning,) if name == "mm-bm-fine-pruning" else ()))
    named = {option for part in parts for option in inspect.signature(part).parameters}
    return tuple(sorted(named - NOT_OPTIONS))


def mitigate(
    classifier: Classifier | Loaded,
    images: Any,
    labels: Any = None,
    *,
    method: str = "mm-bm",
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Mitigation:
    """Take a backdoor out of a classifier, from a few clean samples of every class.

    The classifier given is left as it is, bit for bit. By default (MM-BM) no weight of the copy
    changes either: upper bounds are learnt for its activations, one a channel. Method "auto"
    hardens the weights where a universal perturbation still works on the bounded network, and,
    without bounds, where a warp works on the network as it is.

    Args:
        classifier: what to repair, or what `load` returned.
        images: (n, *shape) clean inputs, a tensor or array, in the classifier's own units, or 8-bit
            images; 20 of every class are usual. For measuring, keep others.
        labels: (n,) the class of each; without them the classifier's own answers serve.
        method: one of `MITIGATORS`; "paper" and "script" for MM-BM as published.
        seed: of everything random.
        progress: gets the steps done and expected.
        options: of the method, see its function.

    Returns:
        The repaired classifier and the record of what was done. Where nothing could be done the
        classifier is the one given, `record.mitigated` is false, and `record.reason` says why.

    Raises:
        ValueError: inputs or labels of the wrong kind, an unknown method, or an option that the
            method does not have.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.ReLU(),
        ...                           torch.nn.Linear(8, 2))
        >>> clf = Classifier(net, input_shape=(1, 2, 2))
        >>> repaired, record = mitigate(clf, torch.rand(40, 1, 2, 2))
        >>> record.mitigated, record.layers[0]["name"], len(record.layers[0]["upper"])
        (True, '2', 8)
    """
    classifier = classifier.classifier if isinstance(classifier, Loaded) else classifier
    name = SHORT.get(method, method)
    if name not in MITIGATORS:
        known = ", ".join([*MITIGATORS, *SHORT])
        raise ValueError(f"unknown method {method!r}; known: {known}")
    known = options_of(name)
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    try:
        samples = prepare(classifier, images, labels)
        repaired, record = MITIGATORS[name](classifier, samples, seed=seed, progress=progress, **options)
    except NotMitigated as error:
        return Mitigation(classifier, Record(name, False, str(error)))
    changed = not same_weights(classifier.model, repaired.model)
    return Mitigation(repaired, replace(record, weights_changed=changed))


__all__ = [
    "METHODS",
    "MITIGATORS",
    "Mitigation",
    "Mitigator",
    "NotMitigated",
    "Record",
    "Samples",
    "mitigate",
    "prepare",
]
