"""What every mitigator is: a classifier and a few clean samples in, a repaired classifier out.

    mitigator(classifier, samples, seed=0, progress=None, **options) -> Mitigation

It leaves the classifier it is given as it was, bit for bit, and works on a copy. Where it cannot
do its work it raises NotMitigated; `mitigate` turns that into the unchanged classifier, so marked.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.base.errors import NotMitigated
from mmbd.base.progress import Progress, ProgressCallback
from mmbd.mitigators.still_working import judged
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples

# The arguments of mitigators that are no options of their methods.
NO_OPTIONS = {"classifier", "samples", "seed", "progress", "bounding", "pruning", "teacher", "aside"}


@dataclass(frozen=True)
class Record:
    """What was done to a classifier; `dataclasses.asdict` makes it ready for JSON.

    What it is worth is not said here: a mitigator measures on the samples that it was given. `verdict`
    therefore never is "reduced"; `workflows.repair.fix` looks for that.

    Args:
        method: the mitigator's name.
        changed: whether the returned classifier differs from the one given, and no more than that.
        reason: why it does not.
        weights_changed: whether any weight or statistic of the network differs.
        samples: how many clean samples there were; `own_labels` says that the classifier's own
            answers stood in for labels.
        accuracy: on those samples, before and after. They were trained on: measure on others.
        kept: the share of the samples it got right before that it still gets right.
        settings: every option of the method.
        layers: the bounds, an object an activation: name, channels, fold, upper, lower, highest
            (what the samples reached), a number a channel each.
        curves: a number for every step, by name.
        perturbations: the universal perturbations the repair was tuned against, where it was: kind,
            target, radius, the share of other classes' samples that each takes to its target
            `before`, and, once it has adapted to the repair, `after`; `still_works` says whether
            that is so much that a backdoor may be left, see `still_working`.
        seconds: what it took.
        notes: anything worth knowing.
    """

    method: str
    changed: bool
    reason: str | None = None
    weights_changed: bool = False
    samples: int = 0
    own_labels: bool = False
    accuracy: tuple[float, float] | None = None
    kept: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    layers: tuple[Mapping[str, Any], ...] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    perturbations: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["not shown", "failed"]:
        """What is known of a backdoor by this alone: "not shown" to be reduced, or "failed"."""
        return "not shown" if self.changed else "failed"


class Mitigation(NamedTuple):
    """A classifier, repaired unless the record says otherwise, and the record."""

    classifier: Classifier
    record: Record


class Mitigator(Protocol):
    """Repairs a copy of one classifier; the random choices follow from `seed`."""

    def __call__(
        self,
        classifier: Classifier,
        samples: Samples,
        *,
        seed: int = 0,
        progress: ProgressCallback | None = None,
    ) -> Mitigation: ...


@dataclass(frozen=True)
class Method:
    """A row of the table of mitigators.

    Args:
        function: a `Mitigator` with options of its own.
        title: what it does, in one line.
        needs: the options without a default: what it needs besides a classifier and samples.
    """

    function: Callable[..., Mitigation]
    title: str
    needs: tuple[str, ...] = ()


def settings_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method, from its `locals()` before it assigns anything."""
    return {name: value for name, value in arguments.items() if name not in NO_OPTIONS}


def curves_of(records: Iterable[Record]) -> dict[str, Sequence[float]]:
    """The curves of all records, each called by its method, too."""
    return {f"{part.method}: {name}": curve for part in records for name, curve in part.curves.items()}


def counted(
    progress: ProgressCallback | None, stage: str, total: int, *, done: int = 0, unit: str = "steps"
) -> Callable[[], None]:
    """A function that tells `progress` of one more step at each call, after those already `done`."""
    started = time.perf_counter()

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(Progress(stage, done, max(done, total), unit, time.perf_counter() - started))

    return step


def duplicate(classifier: Classifier) -> nn.Module:
    """A copy of the classifier's network, in eval mode, to be changed; NotMitigated if none."""
    if not isinstance(classifier.model, nn.Module):
        raise NotMitigated(
            f"the model is a {type(classifier.model).__name__}; only an nn.Module can be repaired"
        )
    return copy.deepcopy(classifier.model).eval()


@contextmanager
def trainable(network: nn.Module) -> Generator[list[nn.Parameter]]:
    """All weights, with gradients inside; afterwards without, each `requires_grad` as it was.

    Raises:
        NotMitigated: there are none.
    """
    weights = [weight for weight in network.parameters() if weight.dtype.is_floating_point]
    if not weights:
        raise NotMitigated(
            "the model has no weights that could be trained: they are buffers, "
            "or belong to a function that it calls; give the nn.Module that holds them as parameters, or "
            "take a method that sets bounds, such as mm-bm"
        )
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        yield weights
    finally:
        for weight in weights:
            weight.grad = None
        for weight in frozen:
            weight.requires_grad_(False)


def batches(count: int, size: int, steps: int, generator: torch.Generator) -> list[Tensor]:
    """`steps` batches of indices below `count`, going through them again and again."""
    size = min(size, count)
    order = [torch.randperm(count, generator=generator) for _ in range(steps * size // count + 1)]
    return list(torch.cat(order).split(size))[:steps]


def disagreement(logits: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared distance of the probabilities of two sets of logits, 0 to 2.

    Unlike that of the logits themselves it does not care how sure a sure answer is.
    """
    return (F.softmax(logits, 1) - F.softmax(wanted, 1)).square().sum(1).mean()


def furthest(
    accuracy: Callable[[float], float], least: float, lowest: float = 0.0, step: float = 0.1
) -> float:
    """How far from `lowest` to 1 (as tuned) a repair may go and stay at `least`.

    `accuracy(extent)` is tried at equal steps downwards, as it need not fall steadily.

    Raises:
        NotMitigated: not even `lowest` is good enough.
    """
    tries = round((1 - lowest) / step)
    extents = (1 - (1 - lowest) * done / tries for done in range(tries + 1))
    found = next((extent for extent in extents if accuracy(extent) >= least), None)
    if found is None:
        raise NotMitigated(
            f"nothing kept an accuracy of {least:.0%} on the samples: ask for less, or give more samples"
        )
    return found


def done(
    method: str, repaired: Classifier, samples: Samples, record: Record | None = None, **fields: Any
) -> Mitigation:
    """The result of a mitigator, with what the repaired classifier says of the samples."""
    logits, record = logits_of(repaired, samples.inputs), record or Record(method, True)
    return Mitigation(
        repaired,
        replace(
            record,
            perturbations=judged(record.perturbations),
            samples=len(samples.labels),
            own_labels=samples.own,
            accuracy=(samples.accuracy(samples.logits), samples.accuracy(logits)),
            kept=samples.kept(logits),
            **fields,
        ),
    )
