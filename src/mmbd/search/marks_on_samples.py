"""What a trigger leaves on clean samples: windows and flows that take these to one class.

A few clean samples of the network's task show what made-up inputs do not. A warp moves their edges, and a
window that swaps all classes shows with ten samples of each. So the races of `marks` are run on samples that
the network gets right: a `window` to each class and one `away`, and a `flow` to each class, one smooth warp
(`perturbation_race`), which is searched on some samples and counted on others. The numbers of inputs and
steps are own choices: some 2,100 gradient evaluations with ten classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import TooFewInputs
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import marks
from mmbd.search.perturbation_race import Lap, Raced, raced, recounted
from mmbd.search.perturbations import FLOW_GRID, KINDS
from mmbd.search.window_climb import in_turn
from mmbd.search.windows import AWAY, Race, Round, race

APART = 2  # samples a class that are searched on, and as many that are counted; with fewer all are both


@dataclass(frozen=True)
class Search:
    """Settings of the search on clean samples.

    Args:
        per_class: the most samples of a class.
        to, away: rounds of the races of windows to each class, and away.
        flows: laps of the race of flows to each class.
        flow, flow_step: root mean square of a flow, in shares of the shorter side, and the length of a step,
            in units of that.
    """

    per_class: int = 10
    to: tuple[Round, ...] = marks.Search.to
    away: tuple[Round, ...] = marks.Search.away
    flows: tuple[Lap, ...] = (Lap(8, 6, 5), Lap(12, 12, 5))
    flow: float = 0.03
    flow_step: float = 0.3


@dataclass(frozen=True)
class OnSamples:
    """What was found.

    Attributes:
        search: the settings used.
        inputs: the samples that windows were tried on, with the classifier's answers.
        to, away: windows.
        flow: one flow to each class, with shares of samples that were not searched on where these are
            enough; None for inputs that cannot be warped.
    """

    search: Search
    inputs: Samples
    to: Race
    away: Race
    flow: Raced | None

    @property
    def evaluations(self) -> int:
        """Gradient evaluations in all, one an input."""
        return sum(part.evaluations for part in self._parts)

    @property
    def oom_retries(self) -> int:
        """How often memory ran out."""
        return sum(part.oom_retries for part in self._parts)

    @property
    def _parts(self) -> list[Race | Raced]:
        return [self.to, self.away, *([] if self.flow is None else [self.flow])]

    @property
    def key(self) -> dict[str, Any]:
        """The settings, JSON-ready; numbers compare where they are equal."""
        return json.loads(json.dumps(asdict(self.search)))

    @property
    def went(self) -> Tensor:
        """How many samples of each class the window away takes to each, (source, destination) int64."""
        return marks.went(self.away)

    def window_lifts(self, classes: int) -> Tensor:
        """How far a window lifts each class, in logits, (classes,) float64; 0 where none was tried."""
        found = torch.zeros(classes, dtype=torch.float64)
        for label, one in self.to.found.items():
            found[label] = one.lift
        return found


def evaluations_on_samples(classes: int, search: Search | None = None) -> int:
    """Gradient evaluations that a search with so many classes to lead to takes, about."""
    how = search or Search()
    rows = zip((classes, *(lap.classes for lap in how.flows)), how.flows, strict=False)
    windows = 400 + 60 * min(classes, 10) + 20 * max(0, classes - 10)
    return windows + sum(min(count, classes) * lap.inputs * lap.steps for count, lap in rows)


def chosen(samples: Samples, *, seed: int, per_class: int = Search.per_class) -> Samples:
    """Samples that the classifier gets right, at most so many of a class, the classes in turn.

    Args:
        samples: clean ones, with the classifier's answers.
        seed: of their order.
        per_class: the most of a class.
    """
    right = samples.at(samples.correct)
    labels = right.labels.cpu()
    order = in_turn(labels, seed)
    seen = torch.zeros(samples.logits.shape[1], dtype=torch.int64)
    kept: list[int] = []
    for place in order.tolist():
        label = int(labels[place])
        seen[label] += 1
        if seen[label] <= per_class:
            kept.append(place)
    return right.at(torch.tensor(kept, dtype=torch.int64, device=right.labels.device))


def halves(samples: Samples, classes: int) -> tuple[Samples, Samples]:
    """Samples, their classes in turn, to search on and to count on: two halves, or twice all if too few."""
    half = len(samples.labels) // 2
    if half < APART * classes:
        return samples, samples
    places = torch.arange(len(samples.labels), device=samples.labels.device)
    return samples.at(places[:half]), samples.at(places[half:])


def marks_on_samples(
    classifier: Classifier,
    samples: Samples,
    *,
    seed: int,
    classes: Sequence[int] | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
    search: Search | None = None,
) -> OnSamples:
    """Search for windows and flows that take clean samples to one class.

    Args:
        classifier: frozen by the caller.
        samples: clean ones, with the classifier's answers; those that it gets wrong are left out.
        seed: of everything random.
        classes: those that changes lead to, beside the one that most samples go to; all by default.
        batch: the most inputs at a time; by default what the device is quick with.
        progress: called with the gradient evaluations so far.
        search: settings.

    Raises:
        TooFewInputs: the classifier gets samples of fewer than three classes right.
        NotEvaluable: no gradient reaches them, or answers are not finite.
        Failed: memory runs out with a single input.
    """
    how, spent = search or Search(), 0
    inputs = chosen(samples, seed=seed, per_class=how.per_class)
    if (there := len(inputs.labels.unique())) < marks.FEWEST:
        raise TooFewInputs(
            f"the classifier gets clean samples of {there} classes right, and {marks.FEWEST} are needed"
        )

    def told(evaluations: int) -> None:
        progress(spent + evaluations)

    limits: dict[str, Any] = {"seed": seed, "batch": batch, "progress": told}
    away = race(classifier, inputs, aims=[AWAY], rounds=how.away, **limits)
    spent += away.evaluations
    aims = list(range(classifier.classes))
    if classes is not None:  # what leads by this mark is looked at by all
        aims = sorted({*classes, int(marks.shares_to(marks.went(away)).argmax())})
    to = race(classifier, inputs, aims=aims, rounds=how.to, **limits)
    spent += to.evaluations
    flow = None
    if KINDS["flow"].possible(classifier.domain):
        used, counted = halves(inputs, classifier.classes)
        radius = how.flow * min(classifier.domain.shape[1:]) * math.sqrt(2 * FLOW_GRID**2)
        step, laps = how.flow_step, how.flows
        flow = raced(classifier, used, "flow", radius=radius, classes=aims, laps=laps, step=step, **limits)
        if counted is not used:
            flow = recounted(classifier, flow, counted, batch)
    return OnSamples(how, inputs, to, away, flow)
