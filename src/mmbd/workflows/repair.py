"""Mitigate, then measure: what a repair did, on samples that it did not see.

Success is never claimed without evidence: the search that finds triggers runs on the network as it was and
on the repaired one (`search.still_reached`), and with triggered samples there is the attack success rate
before and after. `workflows.verdict` makes a word of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from mmbd.base.errors import Failed, NotEvaluable, NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.data import matching
from mmbd.data.dataset import Dataset
from mmbd.formats.loaded import Loaded
from mmbd.mitigators import mitigate
from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of, scaled
from mmbd.results.report import Report
from mmbd.search.still_reached import inputs_for, still_reached
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import no_data, suitable
from mmbd.workflows import triggered as known
from mmbd.workflows.re_attack import re_attacked
from mmbd.workflows.repaired import Repair, accuracies

Labelled = Dataset | tuple[Any, Any] | tuple[Any, Any, Sequence[str]]
QUARTER = 4  # of the samples, one is set aside where there are no others

__all__ = ["Repair", "fitting", "fix", "named_alike", "numbered"]


def named_alike(samples: Dataset, names: Sequence[str]) -> Dataset:
    """The samples with their classes numbered as the classifier's, whose names are `names`.

    Names decide wherever both sides have them, see `matching.places`.

    Raises:
        Failed: it cannot be told which class is which; shows both lists.
    """
    order = torch.tensor(matching.places(samples.names, names), dtype=torch.int64)
    if tuple(samples.names) == tuple(names):
        return samples
    return Dataset(samples.inputs, order[samples.labels], tuple(names))


def fitting(samples: Dataset, classifier: Classifier) -> Dataset:
    """The samples numbered as the classifier's classes, if it can take them.

    Raises:
        Failed: they are not its kind of input, see `suitable.inputs`, or have other classes.
    """
    suitable.inputs(samples.inputs, classifier)
    return named_alike(samples, classifier.class_names)


def numbered(given: Labelled, classifier: Classifier, what: str = "the samples") -> Dataset:
    """Labelled samples in any form, with their classes numbered as the classifier's.

    Args:
        given: a `Dataset`, or (inputs, labels, names) where labels are places in `names`; without
            names, labels are the classifier's own numbers. Inputs and labels are tensors or arrays.
        classifier: its class names decide, see `named_alike`.
        what: the samples are, for messages.

    Raises:
        TypeError: something else.
        ValueError: labels that do not belong to the inputs or the names.
        Failed: classes that are not the classifier's.
    """
    parts: Any = given
    wrong = TypeError(
        f"expected {what} as a Dataset, (inputs, labels) or (inputs, labels, names), with one class number "
        f"a sample, got {type(given).__name__}"
    )
    match parts:
        case Dataset():
            return named_alike(parts, classifier.class_names)
        case (inputs, labels):
            names = classifier.class_names
        case (inputs, labels, names):
            pass
        case _:
            raise wrong
    try:
        inputs, labels = torch.as_tensor(inputs), torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise wrong from error
    if labels.dim() != 1 or labels.is_floating_point() or isinstance(names, str):
        raise wrong
    return named_alike(Dataset(inputs, labels.long().cpu(), tuple(names)), classifier.class_names)


def _unwrapped(given: object) -> Classifier:
    found = given.classifier if isinstance(given, Loaded) else given
    if isinstance(found, Classifier):
        return found
    raise TypeError(f"expected an mmbd.Classifier, or what mmbd.load returns, got {type(given).__name__}")


def fix(
    classifier: Classifier | Loaded,
    samples: Labelled | Literal["drawn"],
    held_out: Labelled | None = None,
    *,
    method: str = "mm-bm",
    labelled: bool = True,
    backdoor: Backdoor | None = None,
    triggered: tuple[Tensor, int] | tuple[Tensor, int, Tensor] | None = None,
    seed: int = 0,
    scanning: Callable[[Classifier], Report] | None = None,
    re_attack: bool = False,
    twin: Classifier | None = None,
    progress: ProgressCallback | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Classifier, Repair]:
    """Repair a classifier and measure what that did; `Repair.verdict` says in a word.

    Args:
        classifier: what to repair, or what `load` returned.
        samples: to repair with: a `Dataset`, (inputs, labels) with the classifier's class numbers, or
            (inputs, labels, class names), which are matched with the classifier's. Arrays will do. "drawn"
            repairs with drawn inputs (`no_data.drawn`), which is weaker: without `held_out` the verdict is
            never "reduced".
        held_out: clean samples to measure on, in the same forms. Without any a quarter of every class of
            `samples` is set aside before the repair, where that leaves two at least.
        method: a name in `MITIGATORS`.
        labelled: whether the repair gets the labels.
        backdoor: the known trigger; its success is measured on `held_out`.
        triggered: inputs with a trigger on them, the class that it takes them to, and, if known, their true
            classes.
        scanning: makes a report of a classifier; no scans without it.
        seed: of the repair, and of the search for what still works.
        re_attack: train a copy of the repaired classifier on what was found, for one epoch on ten samples:
            how fast it comes back.
        twin: a clean classifier of the same kind, to compare the re-attack with.
        progress: see `mitigate`.
        options: of the method.

    Returns:
        The repaired classifier, or the one given where nothing was repaired; and the repair.

    Raises:
        Failed: before anything is repaired: samples or a backdoor that are not of this classifier,
            or no samples of the backdoor's source classes to measure on; no samples at all, and none that
            could be drawn, or a backdoor without any to put it on.
        TypeError: no classifier, or samples of another kind.
    """
    classifier = _unwrapped(classifier)
    aside: Dataset | None = None
    if isinstance(samples, str) and samples == no_data.DRAWN:
        if backdoor is not None and held_out is None:
            raise Failed("a backdoor needs clean samples to be put on: give held-out ones")
        samples, aside = no_data.drawn(classifier, seed=seed)
        labelled = labelled and held_out is not None  # from here on of the search only
    samples = numbered(samples, classifier, "the clean samples")
    held_out = None if held_out is None else numbered(held_out, classifier, "the held-out samples")
    for what, inputs in (
        ("the clean samples", samples.inputs),
        ("the held-out samples", None if held_out is None else held_out.inputs),
        ("the triggered samples", None if triggered is None else triggered[0]),
    ):
        if inputs is not None and len(inputs):
            suitable.inputs(inputs, classifier, what)
    if aside is not None:
        held_out = held_out or Dataset(aside.inputs[:0], aside.labels[:0], aside.names)
    elif held_out is None or not len(held_out):
        samples, held_out = set_aside(samples, seed=seed)
    if backdoor is not None:
        suitable.backdoor(backdoor, classifier, held_out)
    repaired, record = mitigate(
        classifier,
        samples.inputs,
        samples.labels if labelled and aside is None else None,
        method=method,
        seed=seed,
        progress=progress,
        **(options or {}),
    )
    if aside is not None:
        record = replace(record, notes=(*record.notes, no_data.WEAKER))
    if not record.changed:
        return classifier, Repair(record)
    networks = (classifier, repaired)
    fields: dict[str, Any] = {"drawn": 0 if aside is None else len(samples)}
    if len(held_out):
        answers = [classes_of(network, held_out.inputs) for network in networks]
        fields |= accuracies(held_out, answers, classifier)
        if backdoor is not None:
            fields["trigger"] = known.stamped(backdoor, held_out, networks)
    if triggered is not None:
        inputs, target, *labels = triggered
        fields["trigger"] = known.given(inputs, target, labels[0] if labels else None, networks)
    searched = held_out if aside is None or len(held_out) else aside
    fields |= _searched(networks, searched, labelled, seed, twin, re_attack=re_attack)
    if scanning is not None:
        fields["scans"] = (scanning(classifier), scanning(repaired))
    return repaired, Repair(record, **fields)


def set_aside(samples: Dataset, *, seed: int) -> tuple[Dataset, Dataset]:
    """The samples without a quarter of every class, and that quarter; of three or fewer it is none."""
    chosen = torch.zeros(len(samples), dtype=torch.bool)
    order = torch.randperm(len(samples), generator=generator_for("set aside", seed))
    for label in range(len(samples.names)):
        there = order[samples.labels[order] == label]
        chosen[there[: len(there) // QUARTER]] = True
    return samples.take((~chosen).nonzero().flatten()), samples.take(chosen.nonzero().flatten())


def _searched(
    networks: tuple[Classifier, Classifier],
    held_out: Dataset,
    labelled: bool,
    seed: int,
    twin: Classifier | None,
    *,
    re_attack: bool,
) -> dict[str, Any]:
    """What the search reaches before and after, or why there was none; and the re-attack, if wanted."""
    before, after = networks
    if len(held_out.labels) < before.classes:
        left = len(held_out.labels)
        return {"not_searched": f"{left} samples were left that the repair did not use, fewer than classes"}
    inputs = scaled(held_out.inputs).to(before.device)
    samples = inputs_for(before, inputs, held_out.labels if labelled else None, seed)
    try:
        found: dict[str, Any] = {"reached": still_reached(before, after, samples, seed=seed)}
    except NotEvaluable as error:
        return {"not_searched": str(error)}
    if re_attack:
        try:
            found["re_attack"] = re_attacked(after, samples, found["reached"], twin=twin, seed=seed)
        except NotMitigated as error:
            found["not_re_attacked"] = str(error)
    found["reached"] = tuple(replace(row, change=None) for row in found["reached"])  # results are data
    return found
