"""Mitigators, one file each: they take a backdoor out of a classifier, from a few clean samples.

`mitigate` is the way in. A new method is a file with a function like `mitigator.Mitigator`, and a
row in `MITIGATORS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from mmbd.base.choose import unknown
from mmbd.base.errors import NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.formats.loaded import Loaded
from mmbd.mitigators.automatic import automatic
from mmbd.mitigators.bounds_then_pruning import bounds_then_pruning
from mmbd.mitigators.distillation import distillation
from mmbd.mitigators.fine_pruning import fine_pruning
from mmbd.mitigators.hardening import hardening
from mmbd.mitigators.latent_shift import latent_shift
from mmbd.mitigators.margin_clipping import margin_clipping
from mmbd.mitigators.mitigator import NO_OPTIONS, Method, Mitigation, Mitigator, Record
from mmbd.mitigators.mm_bm import mm_bm
from mmbd.mitigators.mm_bm_published import paper, script
from mmbd.mitigators.unlearning import unlearning
from mmbd.model.bounded import same_weights
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples, prepare

MITIGATORS = {
    "auto": Method(automatic, "bounds, and weights trained where a search shows that bounds are not enough"),
    "mm-bm": Method(mm_bm, "bounds on activations, tuned against universal perturbations"),
    "mm-bm-paper": Method(paper, "bounds on three activations, by Algorithm 1 of the paper"),
    "mm-bm-script": Method(script, "bounds on three activations, as the authors' program learns them"),
    "margin-clipping": Method(margin_clipping, "bounds that limit the largest margins, too (MMAC)"),
    "hardening": Method(hardening, "weights trained against universal perturbations"),
    "latent-shift": Method(latent_shift, "weights trained against the shortest shift of the last features"),
    "fine-pruning": Method(fine_pruning, "channels that clean samples use least pruned, weights tuned"),
    "mm-bm-fine-pruning": Method(partial(bounds_then_pruning, bounding=mm_bm), "mm-bm, then fine-pruning"),
    "distillation": Method(distillation, "neural attention distillation from a fine-tuned copy (NAD)"),
    "unlearning": Method(unlearning, "weights tuned on samples with a known trigger (NC-M)", ("trigger",)),
}
# Other names that users may have written: of methods, and of the options of a method.
ALIASES = {"paper": "mm-bm-paper", "script": "mm-bm-script"}
OPTION_ALIASES = {
    "auto": {"standing": "added_still_works", "flowing": "flow_works", "worked": "added_worked"}
}
# The methods that need nothing but clean samples.
METHODS = tuple(name for name in (*MITIGATORS, *ALIASES) if name in ALIASES or not MITIGATORS[name].needs)


def options_of(name: str) -> tuple[str, ...]:
    """The options of a method in the table, sorted."""
    functions = [MITIGATORS[name].function, *([fine_pruning] if name == "mm-bm-fine-pruning" else [])]
    named = {option for function in functions for option in inspect.signature(function).parameters}
    return tuple(sorted(named - NO_OPTIONS))


def resolved(method: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A method's name in the table, and the options by the names that they have now.

    Raises:
        ValueError: an unknown method, an option that it does not have, the same option twice, or
            none where one is needed.
    """
    name = ALIASES.get(method, method)
    if name not in MITIGATORS:
        raise ValueError(unknown("method", method, [*MITIGATORS, *ALIASES]))
    aliases, known = OPTION_ALIASES.get(name, {}), options_of(name)
    found: dict[str, Any] = {}
    for given, value in options.items():
        option = aliases.get(given, given)
        if option not in known:
            raise ValueError(unknown(f"option of {name}", given, known))
        if option in found:
            raise ValueError(f"{name} got {option} twice: once by an older name; give it once")
        found[option] = value
    if missing := [option for option in MITIGATORS[name].needs if option not in found]:
        raise ValueError(f"{name} needs the option {missing[0]}: give {missing[0]}=...")
    return name, found


def mitigate(
    classifier: Classifier | Loaded,
    images: Any,
    labels: Any = None,
    *,
    method: str = "mm-bm",
    seed: int = 0,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Mitigation:
    """Take a backdoor out of a classifier, from a few clean samples of every class.

    The classifier given is left as it is, bit for bit. By default (MM-BM) no weight of the copy
    changes either: upper bounds are learnt for its activations, one a channel. Method "auto"
    trains the weights where a search for triggers still gets past the bounds, and, without bounds,
    where a warp works on the network as it is.

    Args:
        classifier: what to repair, or what `load` returned.
        images: (n, *shape) clean inputs, a tensor or array, in the classifier's own units, or 8-bit
            images; 20 of every class are usual. For measuring, keep others.
        labels: (n,) the class of each; without them the classifier's own answers serve.
        method: a name in `MITIGATORS`, or in `ALIASES`.
        seed: of everything random.
        progress: called after every step, with how far the method is.
        options: of the method, see its function.

    Returns:
        The repaired classifier and the record of what was done. Where nothing could be done the
        classifier is the one given, `record.changed` is false, and `record.reason` says why.

    Raises:
        ValueError: inputs or labels of the wrong kind, an unknown method, or options that are not
            those of the method.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.ReLU(),
        ...                           torch.nn.Linear(8, 2))
        >>> clf = Classifier(net, input_shape=(1, 2, 2))
        >>> repaired, record = mitigate(clf, torch.rand(40, 1, 2, 2))
        >>> record.changed, record.layers[0]["name"], len(record.layers[0]["upper"])
        (True, '2', 8)
    """
    classifier = classifier.classifier if isinstance(classifier, Loaded) else classifier
    name, options = resolved(method, options)
    try:
        samples = prepare(classifier, images, labels)
        repaired, record = MITIGATORS[name].function(
            classifier, samples, seed=seed, progress=progress, **options
        )
    except NotMitigated as error:
        return Mitigation(classifier, Record(name, False, str(error)))
    changed = not same_weights(classifier.model, repaired.model)
    return Mitigation(repaired, replace(record, weights_changed=changed))


__all__ = [
    "ALIASES",
    "METHODS",
    "MITIGATORS",
    "Method",
    "Mitigation",
    "Mitigator",
    "NotMitigated",
    "Record",
    "Samples",
    "mitigate",
    "prepare",
]
