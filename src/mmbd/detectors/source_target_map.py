"""The source-target map: which share of a class's samples one perturbation takes to which class.

Universal perturbations, one for each target class and all of one size, grow until the easiest one
works (`search.universal.find`). A backdoor's target gives way at a size at which no other class
does: a full column, if its trigger works on inputs of any class; one cell, if on one source class
only. So there are two sizes: at one, the easiest perturbation takes most samples of other classes
with it; at the other, as many as one source class has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor

from mmbd.base.choose import unknown
from mmbd.base.errors import NotEvaluable
from mmbd.base.progress import Progress
from mmbd.base.seeds import generator_for
from mmbd.detectors.detector import About, Detector
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Artifact, Column, Finding, Matrix, Test
from mmbd.search import universal
from mmbd.search.perturbations import KINDS, Perturbations, possible_kinds

Scope = Literal["all sources", "one source"]
SCOPES: tuple[Scope, ...] = ("all sources", "one source")
FEWEST = 3  # classes: with two, a target has no other to lead

CAVEATS = (
    "The threshold is a choice of this project and was never calibrated: how often clean models pass it "
    "is not known.",
    "Clean classes that are alike give way to each other early, which looks like a backdoor of one source.",
    "With ten samples of a class a cell is known to about 0.15.",
)

ABOUT = About(
    title="Source-target map: where one small change of all samples takes each class's samples",
    source="own; universal perturbations (Moosavi-Dezfooli et al. 2017), by source class",
    rule="A universal perturbation takes samples to one class at a size at which it takes none to others.",
    mark=(
        "A trigger takes any input, or any input of one class, to the target class. So a small change of all "
        "samples that does the same exists for that class, where other classes need a larger one."
    ),
    statistics="How far each class leads as a target",
    columns={
        "lead": (
            "The lead of a class is the share of samples that its perturbation takes there, less the "
            "largest share that a perturbation of the same size takes to any other class; over samples of "
            "all other classes, or of the source class where it works best."
        )
    },
    artifacts=("What was found", "Clean samples with the perturbation that takes them to the class."),
    tests={
        f"{kind}, {scope}": (f"{row.noun}, {scope}", "a threshold of own choice; not calibrated")
        for (kind, row), scope in product(KINDS.items(), SCOPES)
    },
    step="gradient evaluation",
)


@dataclass(frozen=True)
class Map:
    """One kind of perturbation at one size.

    Attributes:
        shares: (source, target), NaN on the diagonal and for sources without samples.
        leads: (target,) see `leads_of`.
    """

    kind: str
    scope: Scope
    found: Perturbations
    shares: Tensor
    leads: Tensor

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.scope}"


def find(
    classifier: Classifier,
    samples: Samples,
    *,
    level: float = 0.05,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    kinds: Sequence[str] | None = None,
    threshold: float = 0.5,
    enough: float = 0.8,
    steps: int = 24,
    batch: int = 200,
) -> Finding:
    """Whether a universal perturbation takes samples to one class long before any other class gives way.

    Args:
        classifier: the model under inspection.
        samples: clean ones; those that the classifier gets wrong are left out.
        level: not used: the threshold decides.
        seed: of the random starts and the order of samples.
        progress: called after every search.
        kinds: of perturbations, names in `mmbd.search.perturbations.KINDS`; all that the inputs
            can have by default.
        threshold: backdoored where the largest lead is more (own choice: most of the samples that
            go to the class would go to no other).
        enough: the share of samples that the easiest perturbation is to take: of those of all other
            classes, and of one class's; as in repairs (`mmbd.search.universal.find`).
        steps: at most so many of a search, as there.
        batch: samples at a time for the map.

    Raises:
        ValueError: options that make no sense.
        NotEvaluable: fewer than three classes, or samples of fewer that the classifier gets right.
    """
    chosen = _kinds(classifier, kinds)
    if not (0 <= threshold <= 1 and 0 < enough <= 1 and steps >= 1 and batch >= 1):
        raise ValueError("threshold and enough must be shares, steps and batch at least 1")
    right = samples.at(samples.correct)
    sources = len(right.labels.unique())
    if min(classifier.classes, sources) < FEWEST:
        raise NotEvaluable(
            f"samples of {sources} classes that the classifier gets right are too few to tell one "
            "class from the others"
        )
    counted, began, maps = _Counted(classifier), time.perf_counter(), list[Map]()
    for kind, scope in product(chosen, SCOPES):
        # As many samples as one of the other classes has, where the trigger works on that one alone.
        goal = enough if scope == "all sources" else enough / (sources - 1)
        generator = generator_for("source-target map", kind, scope, seed)
        found = universal.find(counted, right, kind, generator=generator, enough=goal, steps=steps)
        shares = shares_of(classifier, found, right, batch)
        maps.append(Map(kind, scope, found, shares, leads_of(shares, scope)))
        if progress is not None:
            done, all_of_them = len(maps), len(chosen) * len(SCOPES)
            spent = time.perf_counter() - began
            progress(Progress("universal perturbations", done, all_of_them, "searches", spent, maps[-1].name))
    settings = {"kinds": list(chosen), "threshold": threshold, "enough": enough, "steps": steps}
    facts = {"evaluations": counted.evaluations, "samples_used": len(right.labels)}
    return _finding(maps, right, threshold, settings, facts)


def shares_of(classifier: Classifier, found: Perturbations, samples: Samples, batch: int = 200) -> Tensor:
    """The share of each source class's samples that each perturbation takes to its target.

    Args:
        classifier: frozen.
        found: one perturbation for each class, in order.
        samples: clean ones.
        batch: pairs of a sample and a perturbation at a time.

    Returns:
        (source, target) float64 on the CPU; NaN where both are one class, or there are no samples.
    """
    classes, device = classifier.classes, samples.inputs.device
    went: list[Tensor] = []
    with torch.no_grad():
        for pairs in torch.arange(len(samples.inputs) * classes, device=device).split(batch):
            which = pairs % classes
            inputs = found(samples.inputs[pairs // classes], which)
            went.append(classifier(inputs).argmax(1) == found.targets[which])
    hits = torch.cat(went).view(-1, classes).double().cpu()
    labels = samples.labels.cpu()
    sums = torch.zeros(classes, classes, dtype=torch.float64).index_add(0, labels, hits)
    shares = sums / labels.bincount(minlength=classes)[:, None]  # 0 / 0 is NaN
    return shares.fill_diagonal_(math.nan)


def leads_of(shares: Tensor, scope: Scope) -> Tensor:
    """How far each target's share lies above the largest of any other target, (classes,).

    Args:
        shares: (source, target), NaN where there are none.
        scope: "all sources" for the mean over source classes, "one source" for the largest of them.
    """
    values = shares.nanmean(0) if scope == "all sources" else shares.nan_to_num(0.0).amax(0)
    values = values.nan_to_num(0.0)
    largest, second = values.topk(2).values
    others = largest.expand(len(values)).clone()
    others[values.argmax()] = second
    return values - others


def _finding(
    maps: Sequence[Map],
    samples: Samples,
    threshold: float,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Finding:
    leads = torch.stack([one.leads for one in maps]).amax(0)
    deciding = max(maps, key=lambda one: float(one.leads.max()))
    order = zip((-leads).tolist(), (-deciding.leads).tolist(), range(len(leads)), strict=True)
    ranking = tuple(label for _, _, label in sorted(order))  # several maps may lead as far
    largest = float(deciding.leads.max())
    flagged = largest > threshold
    # Of every scope the map that says most: the others say it less clearly.
    shown = [
        max((one for one in maps if one.scope == scope), key=lambda one: float(one.leads.max()))
        for scope in SCOPES
    ]
    return Finding(
        verdict="backdoored" if flagged else "clean",
        targets=ranking[:1] if flagged else (),
        ranking=ranking,
        score=largest,
        decided_by=deciding.name,
        tests=tuple(Test(one.name, float(one.leads.max()), threshold=threshold) for one in maps),
        columns=(Column("lead", tuple(leads.tolist())),),
        matrices=tuple(Matrix.of(one.name, one.shares, "share") for one in shown),
        artifacts=(_triggered(deciding, samples),),
        caveats=CAVEATS,
        settings=settings,
        facts={**facts, "radius": deciding.found.radius},
    )


def _triggered(deciding: Map, samples: Samples) -> Artifact:
    """A sample of the class where the leading perturbation works best, with that perturbation."""
    target = int(deciding.leads.argmax())
    source = int(deciding.shares[:, target].nan_to_num(-1.0).argmax())
    (place,) = (samples.labels == source).nonzero()[0].tolist()
    with torch.no_grad():
        changed = deciding.found(samples.inputs[[place]], torch.tensor([target]))
    return Artifact("triggered sample", target, changed[0].contiguous().cpu())


def _kinds(classifier: Classifier, kinds: Sequence[str] | None) -> tuple[str, ...]:
    possible = possible_kinds(classifier.domain)
    if kinds is None:
        return possible
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(unknown("kind of perturbation", kind, KINDS))
    chosen = tuple(kind for kind in KINDS if kind in kinds)
    if not chosen or not set(chosen) <= set(possible):
        raise ValueError(f"these inputs can have perturbations of the kinds {', '.join(possible)}")
    return chosen


class _Counted(Classifier):
    """The same classifier, which counts the inputs that it was asked for a gradient of."""

    def __init__(self, classifier: Classifier) -> None:
        self.__dict__.update(vars(classifier))
        self.evaluations = 0

    def __call__(self, inputs: Tensor, *, buffer: Tensor | None = None) -> Tensor:
        if inputs.requires_grad:
            self.evaluations += len(inputs)
        return super().__call__(inputs, buffer=buffer)


SOURCE_TARGET_MAP = Detector(
    find=find, version=2, about=ABOUT, needs=frozenset({"samples"}), kinds=frozenset(), clears=False
)
