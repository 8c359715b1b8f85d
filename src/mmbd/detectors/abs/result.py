"""From the triggers of suspicious neurons to a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmbd.detectors.abs.neurons import Neuron
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.results.finding import Artifact, Column, Finding, Test

COARSE = 30  # samples of other classes, below which the success rate is said to be coarse


@dataclass(frozen=True)
class Trigger:
    """A trigger for a neuron.

    Args:
        neuron: that it drives.
        kind: "patch" or "filter".
        success: the share of the samples of the search, but for those of its class, that go there.
        reasr: the same of all samples, with 8 bits a pixel.
        shown: a sample of another class with it, on the CPU.
        mask: (height, width) of a patch.
        pattern: (channels, height, width) of a patch.
    """

    neuron: Neuron
    kind: str
    success: float
    reasr: float
    shown: Tensor
    mask: Tensor | None = None
    pattern: Tensor | None = None


def finding(
    classifier: Classifier,
    samples: Samples,
    found: Sequence[Trigger],
    *,
    goal: float,
    threshold: float,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Finding:
    """What the triggers' success rates (REASR) say: one above the threshold is a backdoor's.

    Args:
        classifier: the model under inspection.
        samples: what the triggers were searched and tested on.
        found: the triggers, of the strongest neurons first.
        goal: the least success in its own search with which a trigger counts.
        threshold: of the success rate.
        settings: to report.
        facts: of the run.
    """
    best: dict[int, Trigger] = {}
    for one in sorted(found, key=lambda one: (one.success < goal, -one.reasr)):  # stable
        best.setdefault(one.neuron.label, one)
    rises: dict[int, float] = {}
    for one in found:
        rises[one.neuron.label] = max(rises.get(one.neuron.label, 0.0), one.neuron.score)
    ranking = sorted(best, key=lambda label: (best[label].success < goal, -best[label].reasr, -rises[label]))
    counted = [label for label in ranking if best[label].success >= goal]
    highest = best[counted[0]].reasr if counted else 0.0  # one that failed its search speaks for nothing
    targets = tuple(label for label in counted if best[label].reasr > threshold)
    classes = range(classifier.classes)
    return Finding(
        verdict="backdoored" if targets else "clean",
        targets=targets,
        ranking=tuple(ranking),
        score=highest,
        decided_by="REASR",
        tests=(Test("REASR", statistic=highest, threshold=threshold),),
        columns=(
            Column("REASR", tuple(best[label].reasr if label in counted else None for label in classes)),
            Column("stimulation", tuple(rises.get(label) for label in classes), "logits"),
        ),
        artifacts=tuple(part for label in ranking for part in _pictures(best[label])),
        caveats=tuple(_caveats(samples, best, ranking, len(counted))),
        settings=settings,
        facts={
            **facts,
            "triggers_reached": sum(one.success >= goal for one in found),
            "triggers_searched": len(found),
            "triggers": "; ".join(_line(one, goal) for one in found),
        },
    )


def _pictures(one: Trigger) -> list[Artifact]:
    label = one.neuron.label
    parts = [Artifact("triggered sample", label, one.shown)]
    if one.mask is not None and one.pattern is not None:
        parts += [Artifact("trigger mask", label, one.mask), Artifact("trigger pattern", label, one.pattern)]
    return parts


def _caveats(
    samples: Samples, best: Mapping[int, Trigger], ranking: Sequence[int], counted: int
) -> list[str]:
    if not ranking:
        return ["No neuron, raised by itself, raises one and the same class on nearly all samples."]
    said: list[str] = []
    if not counted:
        said = [
            f"Triggers were searched for {len(best)} classes, and none took enough of the samples that it "
            "was searched on: with more steps or samples some might."
        ]
    others = int((samples.labels != ranking[0]).sum())
    if others >= COARSE:
        return said
    return [
        *said,
        f"The success rate of a trigger is a share of {others} samples, so that it moves in steps of "
        f"{1 / others:.2g}; more samples a class make it finer.",
    ]


def _line(one: Trigger, goal: float) -> str:
    """A trigger in the list of all."""
    neuron = one.neuron
    missed = "" if one.success >= goal else " (the search failed)"
    return (
        f"{neuron.activation.name}[{neuron.channel}] to class {neuron.label}, rise {neuron.score:.3g}, "
        f"{one.kind}: {one.reasr:.3f}{missed}"
    )
