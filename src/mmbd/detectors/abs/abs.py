"""ABS, artificial brain stimulation: neurons that alone raise one class, and triggers that drive them.

Liu et al., CCS 2019. Numbers are those of the authors' script for CIFAR-10 unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import ProgressCallback, spent
from mmbd.base.text import count
from mmbd.detectors import options as checks
from mmbd.detectors.abs.about import ABOUT
from mmbd.detectors.abs.descent import descend
from mmbd.detectors.abs.neurons import Neuron
from mmbd.detectors.abs.result import Trigger, finding
from mmbd.detectors.abs.stimulation import chosen, judged, rises
from mmbd.detectors.abs.triggers import Filters, Kind, Patches, rounded
from mmbd.detectors.detector import Detector
from mmbd.model.activations import Activation, find
from mmbd.model.classifier import Classifier
from mmbd.model.forward import classes_of
from mmbd.model.samples import Samples
from mmbd.results.finding import Finding
from mmbd.search import memory
from mmbd.search.stamping import channels_first

FEWEST_CLASSES, FEWEST_SAMPLES = 3, 5
SPREAD, CAP = 10, 3  # of the first candidates, at most so many are of one layer
MANY = 30  # samples from which on a third of them is enough to search on
FORWARDS = 3  # forward passes that take as long as a gradient


@dataclass(frozen=True)
class Job:
    """What all steps know.

    Args:
        classifier: frozen by the caller.
        samples: clean ones.
        tell: called with the gradient evaluations of a step, or what takes as long.
    """

    classifier: Classifier
    samples: Samples
    tell: Callable[[float], None]

    @cached_property
    def few(self) -> Tensor:
        """(n,) which samples triggers are searched on: all, or of many every third of each class."""
        return searched_on(self.samples.labels)


def artificial_brain_stimulation(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    steps: int = 1000,
    lr: float = 0.1,
    filter_lr: float = 2e-3,
    size: int | None = None,
    candidates: int = 20,
    levels: int = 5,
    reach: float = 8.0,
    goal: float = 0.6,
    threshold: float = 0.8,
    filters: bool = True,
    rows: int | None = None,
    memory_limit: int | None = None,
) -> Finding:
    """Find neurons that alone raise one class, and search for triggers that drive them.

    The model is backdoored where such a trigger takes more than `threshold` of the samples of other
    classes to that class (REASR). Triggers are searched on all samples, or on every third of 30 and more
    of a class (the script: on the first third).

    Args:
        classifier: the model under inspection.
        samples: clean ones of all classes; the paper takes one a class.
        level: not used: the decision is by `threshold`.
        seed: of the first patterns, by neuron.
        progress: called after every step.
        steps: of Adam for every trigger (the script: 1000).
        lr: Adam's for patches (the script: 0.1).
        filter_lr: Adam's for filters (the script: 0.002).
        size: the pixels that a patch may have; by default one in sixteen (the script: 64 of 32 x 32).
        candidates: neurons that triggers are searched for (the script: 20, and one more by mistake).
        levels: values that a neuron is set to, zero the first (the script: 5).
        reach: they lie so many times the layer's highest value on samples, over `levels`, apart (the
            script: 8).
        goal: the least success on the samples of the search with which a trigger counts (the script:
            0.6).
        threshold: of the success on all samples, their pixels rounded to 8 bits (the script: 0.8).
        filters: whether to search for filters too, beside patches (the script: yes).
        rows: the most triggers side by side.
        memory_limit: bytes for activations.

    Raises:
        NotEvaluable: fewer than three classes or five samples, or a network without activations.
    """
    layers = _layers(classifier, samples)
    pixels = samples.inputs[0, 0].numel()
    patch = max(1, pixels // 16) if size is None else size
    number, few = len(samples.inputs), len(searched_on(samples.labels))
    forwards = sum(layer.channels for layer in layers) * levels * number
    job = Job(
        classifier,
        samples,
        _counter(progress, forwards // FORWARDS + candidates * steps * few * (2 if filters else 1)),
    )
    neurons = _stimulated(job, layers, levels=levels, reach=reach, most=candidates)
    images = samples.inputs[job.few]
    kinds: dict[str, Kind] = {"patch": Patches(classifier, images, patch, seed, lr)}
    if filters:
        kinds["filter"] = Filters(classifier, images, filter_lr)
    if rows is None:
        rows = max(1, memory.batch_size(classifier, memory_limit, most=few * candidates) // few)
    found: list[Trigger] = []
    evaluations = retries = 0
    for name, kind in kinds.items():
        ends, stats = descend(
            neurons,
            kind.start,
            kind.slope,
            kind.valid_,
            steps=steps,
            lr=kind.lr,
            rows=rows,
            each=few,
            progress=_since(job.tell),
        )
        images = kind.prepared(samples.inputs)
        found += [_tested(job, name, kind, images, one, end) for one, end in zip(neurons, ends, strict=True)]
        evaluations, retries = evaluations + stats.evaluations, retries + stats.oom_retries
    settings = {"steps": steps, "lr": lr, "filter_lr": filter_lr, "size": patch, "candidates": candidates}
    settings |= {"levels": levels, "reach": reach, "goal": goal, "threshold": threshold, "filters": filters}
    return finding(
        classifier,
        samples,
        found,
        goal=goal,
        threshold=threshold,
        settings=settings,
        facts={"evaluations": evaluations, "oom_retries": retries, "forward_passes": forwards},
    )


def searched_on(labels: Tensor) -> Tensor:
    """Where the samples are that triggers are searched on: all, or of many every third of each class."""
    if len(labels) < MANY:
        return torch.arange(len(labels), device=labels.device)
    before = (labels[:, None] == labels).tril(-1).sum(1)  # samples of the same class that come earlier
    return (before % 3 == 0).nonzero().flatten()


def _layers(classifier: Classifier, samples: Samples) -> tuple[Activation, ...]:
    """The layers to stimulate; NotEvaluable where nothing could be said."""
    if classifier.classes < FEWEST_CLASSES:
        raise NotEvaluable(
            f"{count(classifier.classes)} classes: every neuron raises one of two above the other, so ABS "
            f"needs at least {FEWEST_CLASSES}"
        )
    if len(samples.inputs) < FEWEST_SAMPLES:
        raise NotEvaluable(
            f"{len(samples.inputs)} clean samples: ABS compares what a neuron does to several images, and "
            f"needs at least {FEWEST_SAMPLES}"
        )
    layers = find(classifier)
    if not layers:
        raise NotEvaluable(
            "the network has no activations that ABS could raise: no ReLU or its kin runs in it where "
            "torch can see it"
        )
    return layers


def _stimulated(
    job: Job, layers: Sequence[Activation], *, levels: int, reach: float, most: int
) -> list[Neuron]:
    """The neurons that triggers are to be searched for."""
    neurons: list[Neuron] = []

    def done(forwards: int) -> None:
        job.tell(forwards / FORWARDS)

    with torch.no_grad():
        for layer in layers:
            rise = rises(job.classifier, job.samples.inputs, layer, levels=levels, reach=reach, done=done)
            labels, scores = judged(rise, job.samples.labels)
            neurons += [
                Neuron(layer, channel, label, score)
                for channel, (label, score) in enumerate(zip(labels.tolist(), scores.tolist(), strict=True))
            ]
    return chosen(neurons, most=most, spread=SPREAD, cap=CAP)


def _tested(job: Job, name: str, kind: Kind, prepared: Tensor, neuron: Neuron, values: Tensor) -> Trigger:
    """How many samples of other classes a trigger takes to its class, in 8 bits."""
    classifier, samples = job.classifier, job.samples
    with torch.no_grad():
        raw = kind.applied(values, prepared)
        exact = classes_of(classifier, channels_first(raw)) == neuron.label
        shown = channels_first(rounded(classifier, raw))
        hits = classes_of(classifier, shown) == neuron.label
        others = (samples.labels != neuron.label).cpu()
        searched = torch.zeros_like(others)
        searched[job.few] = True
        mask, pattern = kind.form(values[None]) if isinstance(kind, Patches) else (None, None)
    return Trigger(
        neuron,
        name,
        _share(exact[others & searched]),
        _share(hits[others]),
        shown[int(others.nonzero()[0])].cpu().contiguous(),
        None if mask is None else mask[0, ..., 0].cpu(),
        None if pattern is None else pattern[0].movedim(-1, 0).cpu().contiguous(),
    )


def _share(hits: Tensor) -> float:
    return float(hits.double().mean()) if len(hits) else 0.0


def _counter(progress: ProgressCallback | None, total: int) -> Callable[[float], None]:
    """What adds a step's gradient evaluations, or what takes as long, to the progress."""
    tell, so_far = spent(progress, "neurons and triggers", total), 0.0

    def add(more: float) -> None:
        nonlocal so_far
        so_far += more
        tell(int(so_far))

    return add


def _since(tell: Callable[[float], None]) -> Callable[[int], None]:
    """What makes steps of the evaluations so far."""
    before = 0

    def step(evaluations: int) -> None:
        nonlocal before
        tell(evaluations - before)
        before = evaluations

    return step


def check(options: Mapping[str, Any]) -> None:
    """ValueError for options whose values make no sense."""
    checks.whole(options, "steps", "size", "candidates", "rows")
    checks.whole(options, "levels", least=2)
    checks.positive(options, "lr", "filter_lr", "reach")
    for name in ("goal", "threshold"):
        if not 0 <= options.get(name, 0) <= 1:
            raise ValueError(f"{name} must be in 0 to 1, got {options[name]!r}")


ABS = Detector(
    find=artificial_brain_stimulation,
    version=1,
    about=ABOUT,
    needs=frozenset({"samples"}),
    per_class=1,
    check=check,
)
