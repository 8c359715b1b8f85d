"""What a trigger leaves beside a large margin: marks of one model, by class, from few gradient evaluations.

A trigger is one change that takes any input to one class. So these are searched for, thriftily, on drawn
scenes (`scenes`), which triggers take to their target as they do real inputs: universal perturbations to each
class, added and sparse (`universal_data_free`), and a `window` to each class. And, on inputs that the model
made up for itself and is sure of (`made_up.firm`), one window `away` from their own classes to wherever;
scenes leave theirs too easily for that. Clean samples can take the place of both, and made-up inputs that of
scenes where none can be drawn. A `flow` to each class can be asked for. The numbers of inputs and steps are
own choices: some 1,900 gradient evaluations with ten classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable, TooFewInputs
from mmbd.base.extras import room_for_scipy
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import Samples
from mmbd.search import universal_data_free
from mmbd.search.made_up import MADE_UP, made_up
from mmbd.search.perturbation_race import Lap, Raced, raced
from mmbd.search.perturbations import KINDS
from mmbd.search.universal_data_free import UniversalGains, together, universal_evaluations, universal_gains
from mmbd.search.window_climb import in_turn
from mmbd.search.windows import AWAY, Race, Round, race

GAINS = universal_data_free.Search(attempts=1, steps=4)
ENOUGH = 1.5  # inputs a class, from which on pairs of classes say something
FEWEST = 3  # classes that inputs have to be of


@dataclass(frozen=True)
class Search:
    """Settings of the search for marks.

    Args:
        gains: of the universal perturbations to each class.
        scenes, most: drawn inputs that windows to each class are tried on, universal perturbations on the
            first of them; and how many of them may be of one class.
        firm, further: made-up inputs that windows away are tried on, and how far they are moved into their
            class (`made_up.firm`).
        to, away: rounds of the races of windows to each class, and away.
        flows: laps of the race of flows to each class; none by default: on networks that played no part in
            it they told a warped network from a clean one no better than chance.
        flow, flow_step: root mean square of a flow, in shares of the shorter side, and the length of a step,
            in units of that.
        smooth, steps: made-up inputs that flows are tried on, and the steps they take (`made_up.smooth`).
    """

    gains: universal_data_free.Search = GAINS
    scenes: int = 64
    most: int = 16
    firm: int = 18
    further: int = 10
    to: tuple[Round, ...] = (Round(2, 1, rows=0.1), Round(4, 1), Round(8, 1), Round(8, 3))
    away: tuple[Round, ...] = (Round(4, 1, rows=0.12), Round(8, 2), Round(16, 2), Round(18, 3))
    flows: tuple[Lap, ...] = ()
    flow: float = 0.0775
    flow_step: float = 0.3
    smooth: int = 12
    steps: int = 15


@dataclass(frozen=True)
class Marks:
    """What was found.

    Attributes:
        search: the settings used.
        inputs: what the window away was tried on, with the classifier's answers.
        gains: how far universal perturbations lift each class; NaN for those that were left out.
        to, away: windows.
        flow: one flow to each class; None where there are none.
        made: gradient evaluations for the inputs.
    """

    search: Search
    inputs: Samples
    gains: UniversalGains
    to: Race
    away: Race
    flow: Raced | None
    made: int = field(default=0)

    @property
    def evaluations(self) -> int:
        """Gradient evaluations in all, one an input."""
        parts = [self.gains, self.to, self.away, *([] if self.flow is None else [self.flow])]
        return self.made + sum(part.evaluations for part in parts)

    @property
    def oom_retries(self) -> int:
        """How often memory ran out."""
        parts = [self.gains, self.to, self.away, *([] if self.flow is None else [self.flow])]
        return sum(part.oom_retries for part in parts)

    @property
    def key(self) -> dict[str, Any]:
        """The settings, JSON-ready; numbers compare where they are equal."""
        return json.loads(json.dumps(asdict(self.search)))

    @property
    def lifts(self) -> Tensor:
        """The gain of universal perturbations of each class, in logits, (classes,) float64; 0 without one."""
        tried = self.gains.added.isfinite()
        found = torch.zeros(len(tried), dtype=torch.float64)
        found[tried] = together(self.gains.added[tried], self.gains.sparse[tried])
        return found

    def window_lifts(self, classes: int) -> Tensor:
        """How far a window lifts each class, in logits, (classes,) float64; 0 where none was tried."""
        found = torch.zeros(classes, dtype=torch.float64)
        for label, one in self.to.found.items():
            found[label] = one.lift
        return found

    @property
    def went(self) -> Tensor:
        """How many inputs of each class the window away takes to each, (source, destination) int64.

        The diagonal holds those that stay. On the CPU.
        """
        return went(self.away)


def marks_evaluations(classes: int, search: Search | None = None) -> int:
    """Gradient evaluations that a search with so many classes to lead to takes, about."""
    how = search or Search()
    flows = zip((classes, *(lap.classes for lap in how.flows)), how.flows, strict=False)
    flow = sum(min(count, classes) * lap.inputs * lap.steps for count, lap in flows)
    made = how.firm * (how.further + 4) + (how.smooth * how.steps if how.flows else 0)
    # Some hundred windows in an image; of those for a class about ten are left after the first round.
    windows = 400 + 60 * min(classes, 10) + 20 * max(0, classes - 10)
    return universal_evaluations(classes, how.gains) + made + windows + flow


def _drawn(classifier: Classifier, how: Search, *, seed: int, batch: int | None) -> Samples | None:
    """Scenes with the classifier's answers, classes in turn; None where there are none, as for vectors."""
    if not MADE_UP["scenes"].possible(classifier.domain):
        return None
    scenes = made_up("scenes", classifier, how.scenes, seed=seed, batch=batch, most=how.most).samples
    return scenes.at(in_turn(scenes.labels.cpu(), seed))


def went(away: Race) -> Tensor:
    """How many inputs of each class the window takes to each, (source, destination) int64, on the CPU.

    The diagonal holds those that stay.
    """
    logits = away.found[AWAY].logits
    assert logits is not None
    classes = logits.shape[1]
    pairs = away.samples.labels * classes + logits.argmax(1)
    return pairs.bincount(minlength=classes**2).view(classes, classes).cpu()


def shares_to(counts: Tensor) -> Tensor:
    """The share of the inputs of all other classes that go to each class, (classes,) float64."""
    moved = counts.double().clone().fill_diagonal_(0.0).sum(0)
    others = counts.sum() - counts.sum(1)
    return torch.where(others > 0, moved / others.clamp_min(1), 0.0)


def paired(counts: Tensor) -> tuple[dict[int, int], float]:
    """The best pairs source -> destination, each class at most once a source and once a destination.

    Returns:
        the pairs, and the share of all inputs that go by them.
    """
    room_for_scipy()
    from scipy.optimize import linear_sum_assignment

    moved = counts.double().clone().fill_diagonal_(0.0)
    sources, destinations = linear_sum_assignment(moved.numpy(), maximize=True)
    found = {
        int(source): int(destination)
        for source, destination in zip(sources, destinations, strict=True)
        if moved[source, destination] > 0
    }
    return found, sum(float(moved[pair]) for pair in found.items()) / float(counts.sum())


def in_pairs(counts: Tensor) -> tuple[dict[int, int], float]:
    """The same where there are inputs enough: with less than 1.5 a class, scattered ones make pairs too.

    Returns:
        `paired`, or no pairs and a share of 0.
    """
    return paired(counts) if int(counts.sum()) >= ENOUGH * len(counts) else ({}, 0.0)


def marks(
    classifier: Classifier,
    *,
    seed: int,
    samples: Samples | None = None,
    classes: Sequence[int] | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] = lambda evaluations: None,
    search: Search | None = None,
    guide: Classifier | None = None,
) -> Marks:
    """Search for universal perturbations, windows and flows that take inputs to one class.

    Args:
        classifier: frozen by the caller.
        seed: of everything random.
        samples: clean ones that the classifier gets right, instead of made-up inputs.
        classes: those that changes lead to, beside the one that most inputs go to; all by default.
        batch: the most inputs at a time; by default what the device is quick with.
        progress: called with the gradient evaluations so far.
        search: settings.
        guide: the same network in another precision, which leads (`search.precision`); what is found is
            stated as `classifier` sees it.

    Raises:
        TooFewInputs: no inputs of three classes can be made up, or no scenes of two.
        NotEvaluable: no gradient reaches them, or answers are not finite.
        Failed: memory runs out with a single input.
    """
    how, spent, made = search or Search(), 0, 0
    inputs = samples

    def told(evaluations: int) -> None:
        progress(spent + evaluations)

    if inputs is None:
        firm = made_up("firm", guide or classifier, how.firm, seed=seed, batch=batch, further=how.further)
        inputs, made = firm.samples, firm.evaluations
        if guide is not None:
            logits = logits_of(classifier, inputs.inputs)
            inputs = Samples(inputs.inputs, logits.argmax(1), logits, own=True)
    scenes = samples or _drawn(classifier, how, seed=seed, batch=batch)
    for some, fewest in ((inputs, FEWEST), (scenes or inputs, 2)):  # one is another class than the aim
        if len(some.labels.unique()) < fewest:
            raise TooFewInputs(f"{len(some.labels)} inputs are of fewer than {fewest} classes")
    spent = made
    limits: dict[str, Any] = {"seed": seed, "batch": batch, "progress": told}
    away = race(classifier, inputs, aims=[AWAY], rounds=how.away, guide=guide, **limits)
    spent += away.evaluations
    aims = list(range(classifier.classes))
    if classes is not None:  # what leads by this mark is looked at by all
        aims = sorted({*classes, int(shares_to(went(away)).argmax())})
    to = race(classifier, scenes or inputs, aims=aims, rounds=how.to, guide=guide, **limits)
    spent += to.evaluations
    gains = universal_gains(
        classifier,
        seed=seed,
        classes=aims,
        on=None if samples is not None or scenes is None else scenes.inputs[: how.gains.inputs],
        batch=batch,
        progress=lambda _, evaluations: told(evaluations),
        guide=guide,
        **asdict(how.gains),
    )
    if not bool((gains.added[aims].isfinite() & gains.sparse[aims].isfinite()).all()):
        raise NotEvaluable("a margin became NaN or infinite under a perturbation")
    spent += gains.evaluations
    flow = None
    if how.flows and KINDS["flow"].possible(classifier.domain):
        try:
            smooth = samples
            if smooth is None:
                eased = made_up("smooth", classifier, how.smooth, seed=seed, batch=batch, steps=how.steps)
                smooth, made, spent = eased.samples, made + eased.evaluations, spent + eased.evaluations
            radius = how.flow * min(classifier.domain.shape[1:])
            radius *= math.sqrt(math.prod(KINDS["flow"].shape(classifier.domain)))
            flow = raced(
                classifier,
                smooth,
                "flow",
                radius=radius,
                classes=aims,
                laps=how.flows,
                step=how.flow_step,
                **limits,
            )
        except TooFewInputs:
            flow = None  # smooth inputs of one class, or none: flows say nothing
    return Marks(how, inputs, gains, to, away, flow, made)
