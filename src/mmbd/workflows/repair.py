"""Mitigate, then measure: what a repair did, on samples that it did not see.

Success is never claimed without evidence. With triggered samples it is the attack success rate
before and after; without them what is left is a second scan, and the perturbations that the
repair was tuned against, neither of which shows that a trigger no longer works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mmbd.base.jsonable import jsonable
from mmbd.base.progress import ProgressCallback
from mmbd.data import matching
from mmbd.data.dataset import Dataset
from mmbd.formats.loaded import Loaded
from mmbd.mitigators import Record, mitigate
from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of
from mmbd.results.report import Report
from mmbd.triggers.backdoor import Backdoor
from mmbd.workflows import suitable

VERSION = 1
Share = tuple[float, float]  # before and after
Labelled = Dataset | tuple[Any, Any] | tuple[Any, Any, Sequence[str]]


@dataclass(frozen=True)
class Repair:
    """What a repair did, JSON-ready but for the reports.

    Args:
        record: what the mitigator did.
        held_out: how many clean samples the repair did not see; 0 where there were none.
        accuracy: on those, before and after.
        classes: name, samples, accuracy before and after, of every class with such samples.
        triggered: how many triggered samples the attack success rate is of.
        attack_success: before and after; None without a trigger set.
        untriggered: the share of the same samples without their trigger that go to the target,
            before and after: what is left of the attack when nothing is. None where the trigger is
            not known.
        scans: the report on the model before and after; None where it was not scanned.
    """

    record: Record
    held_out: int = 0
    accuracy: Share | None = None
    classes: tuple[tuple[str, int, float, float], ...] = ()
    triggered: int = 0
    attack_success: Share | None = None
    untriggered: Share | None = None
    scans: tuple[Report, Report] | None = None

    @property
    def largest_drop(self) -> tuple[str, int, float, float] | None:
        """The class that lost most accuracy."""
        return max(self.classes, key=lambda entry: entry[2] - entry[3], default=None)

    @property
    def fidelity(self) -> float | None:
        """TrojAI's figure, 0 to 1: the share of the attack gone times that of the accuracy kept.

        Without triggered samples there is none.
        """
        if self.attack_success is None or self.accuracy is None:
            return None
        before, after = self.attack_success
        if before <= 0 or self.accuracy[0] <= 0:
            return None
        return (before - after) / before * (self.accuracy[1] / self.accuracy[0])

    def to_json(self) -> str:
        """As JSON, with the numbers before and after under these names."""
        scans = self.scans and [json.loads(report.to_json()) for report in self.scans]
        fields = {
            "version": VERSION,
            "record": asdict(self.record),
            "held_out": self.held_out,
            "accuracy": _pair(self.accuracy),
            "classes": [
                {"name": name, "samples": samples, "before": before, "after": after}
                for name, samples, before, after in self.classes
            ],
            "triggered": self.triggered,
            "attack_success": _pair(self.attack_success),
            "untriggered": _pair(self.untriggered),
            "fidelity": self.fidelity,
            "scans": scans and dict(zip(("before", "after"), scans, strict=True)),
        }
        return json.dumps(jsonable(fields), indent=1, allow_nan=False)


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
    return named_alike(Dataset(inputs, labels.long(), tuple(names)), classifier.class_names)


def _unwrapped(given: object) -> Classifier:
    found = given.classifier if isinstance(given, Loaded) else given
    if isinstance(found, Classifier):
        return found
    raise TypeError(f"expected an mmbd.Classifier, or what mmbd.load returns, got {type(given).__name__}")


def fix(
    classifier: Classifier | Loaded,
    samples: Labelled,
    held_out: Labelled | None = None,
    *,
    method: str = "mm-bm",
    labelled: bool = True,
    backdoor: Backdoor | None = None,
    triggered: tuple[Tensor, int] | None = None,
    scanning: Callable[[Classifier], Report] | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Classifier, Repair]:
    """Repair a classifier and measure what that did.

    Args:
        classifier: what to repair, or what `load` returned; left as it is.
        samples: clean samples to repair with: a `Dataset`, (inputs, labels), or (inputs, labels, names),
            see `numbered`.
        held_out: other clean samples to measure on, given alike.
        method: one of `mitigators.MITIGATORS`.
        labelled: whether the labels of `samples` are to be used.
        backdoor: the true backdoor, where it is known: its triggers are put on `held_out`.
        triggered: instead, inputs (n, ...) with a trigger, none of the target class, and that
            class.
        scanning: makes the report on a classifier; no scans without it.
        seed: of the repair.
        progress: see `mitigate`.
        options: of the method.

    Returns:
        The repaired classifier, or the one given where nothing was mitigated; and the repair.

    Raises:
        Failed: before anything is repaired: samples or a backdoor that are not of this classifier,
            or no samples of the backdoor's source classes to measure on.
        TypeError: no classifier, or samples of another kind.
    """
    classifier = _unwrapped(classifier)
    samples = numbered(samples, classifier, "the clean samples")
    held_out = None if held_out is None else numbered(held_out, classifier, "the held-out samples")
    for what, inputs in (
        ("the clean samples", samples.inputs),
        ("the held-out samples", None if held_out is None else held_out.inputs),
        ("the triggered samples", None if triggered is None else triggered[0]),
    ):
        if inputs is not None and len(inputs):
            suitable.inputs(inputs, classifier, what)
    if backdoor is not None:
        suitable.backdoor(backdoor, classifier, held_out)
    repaired, record = mitigate(
        classifier,
        samples.inputs,
        samples.labels if labelled else None,
        method=method,
        seed=seed,
        progress=progress,
        **(options or {}),
    )
    if not record.mitigated:
        return classifier, Repair(record)
    networks = (classifier, repaired)
    fields: dict[str, Any] = {}
    if held_out is not None and len(held_out):
        predictions = [classes_of(network, held_out.inputs) for network in networks]
        fields |= _accuracies(held_out, predictions, classifier.class_names)
        if backdoor is not None:
            rates = [
                backdoor.success(lambda inputs, network=network: classes_of(network, inputs), held_out)
                for network in networks
            ]
            targets = torch.full((len(classifier.class_names),), -1)  # of each source class
            for source in backdoor.triggers:
                targets[source] = backdoor.targets[source]
            there = targets[held_out.labels]
            attacked = there >= 0
            fields |= {
                "triggered": int(attacked.sum()),
                "attack_success": tuple(rates),
                "untriggered": tuple(
                    float((answer == there)[attacked].double().mean()) for answer in predictions
                ),
            }
    if triggered is not None:
        inputs, target = triggered
        rates = [float((classes_of(net, inputs) == target).double().mean()) for net in networks]
        fields |= {"triggered": len(inputs), "attack_success": tuple(rates)}
    if scanning is not None:
        fields["scans"] = (scanning(classifier), scanning(repaired))
    return repaired, Repair(record, **fields)


def _accuracies(held_out: Dataset, answers: Sequence[Tensor], names: Sequence[str]) -> dict[str, Any]:
    right = [answer == held_out.labels for answer in answers]
    classes: list[tuple[str, int, float, float]] = []
    for label, name in enumerate(names):
        there = held_out.labels == label
        if bool(there.any()):
            before, after = (float(one[there].double().mean()) for one in right)
            classes.append((name, int(there.sum()), before, after))
    before, after = (float(one.double().mean()) for one in right)
    return {"held_out": len(held_out), "accuracy": (before, after), "classes": tuple(classes)}


def _pair(values: Share | None) -> dict[str, float] | None:
    return None if values is None else dict(zip(("before", "after"), values, strict=True))
