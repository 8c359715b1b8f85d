"""Where bounds start: by channel, by place, or in between, as clean samples allow.

The paper shares one bound among all places of a channel because "all activations of a map have the
same range" (section 5.3). That fails where objects are centred and the border is empty: strokes in
the middle drive a channel as high as bright pixels in a corner do, so no bound a channel can tell
them apart. What clean samples reach at each place can, widened by its neighbours; but from few
samples it is noisy. So a place's bound is

    min(channel, max(place, share * channel))

with the smallest share of every activation that cuts little off samples which the places were not
taken from. A share of 1 is the bound by channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmbd.base.choose import unknown
from mmbd.base.seeds import generator_for
from mmbd.mitigators.inputs import BoundedInputs, bounded_inputs
from mmbd.mitigators.ways import FEWEST, POOLS, Way, affordable, highest, left_out, nearby
from mmbd.model.activations import Activation, ActivationHook
from mmbd.model.bounded import Limit, limiting
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.samples import Samples

PLACES = ("auto", "channel", "place")
RANKS = (0.0, 0.01, 0.025)  # of the samples, so many reach more at a place than counts
SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7)
# What may be cut off all activation of a layer, on samples that were left out; the loosest is tried first.
CUTS = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
LEAST = 1e-6  # a bound that factors can still raise
ENOUGH = 1000  # samples: whole maps of some are kept
Peaks = dict[int, Tensor]
WAYS = tuple(Way(rank, share) for rank in RANKS for share in SHARES)


@dataclass(frozen=True)
class Fold:
    """Samples that were left out, by their `rows` (n,): inputs (n, *shape), the answers (n,) to them,
    and what the `others`, so many, reach.
    """

    rows: Tensor
    inputs: Tensor
    answers: Tensor
    peaks: Peaks
    others: int


def starts(
    classifier: Classifier,
    samples: Samples,
    chosen: Sequence[Activation],
    channel: Mapping[int, Tensor],
    *,
    places: str,
    fold: bool,
    seed: int,
    inputs: bool = False,
) -> tuple[dict[int, Tensor], dict[str, dict[str, float]], BoundedInputs | None]:
    """The bounds to start from, by the index of their activation, and the share of each by name.

    Args:
        classifier: the network, frozen.
        samples: clean ones.
        chosen: the activations to bound.
        channel: bounds by channel, (channels,) by index; no bound is above its channel's.
        places: "channel" leaves those as they are; "place" takes what the samples reach at each
            place, a share of 0; "auto" chooses a share for every activation.
        fold: whether the bounds will fold rather than clip.
        seed: of the order in which samples are left out.
        inputs: whether inputs may have bounds as well, where `places` is "auto".

    Returns:
        Bounds of the shape of the activation where they are by place, else (channels,); by name,
        the rank and share (`Way`) of those that are by place; and the bounds on inputs.

    Raises:
        ValueError: another word for `places`.
    """
    if places not in PLACES:
        raise ValueError(unknown("way to bound places", places, PLACES))
    channel = {index: value.clamp_min(LEAST) for index, value in channel.items()}
    if len(samples.inputs) > ENOUGH:
        drawn = torch.randperm(len(samples.inputs), generator=generator_for("places", "samples", seed))
        samples = samples.at(drawn[:ENOUGH].to(samples.inputs.device))
    spread = [activation for activation in chosen if has_places(activation, classifier)]
    entering: BoundedInputs | None = None
    if inputs and places == "auto":
        limits = [Limit(activation, channel[activation.index], fold=fold) for activation in chosen]
        answers = samples.logits.argmax(1)
        entering = bounded_inputs(
            classifier, samples, lambda x: _others(classifier, x, answers, limits), seed=seed
        )
    if places == "channel" or not spread:
        return channel, {}, entering
    if places == "place":
        ways = dict.fromkeys((activation.index for activation in spread), WAYS[0])
    elif len(samples.inputs) < FEWEST:
        return channel, {}, entering
    else:
        ways = _allowed(classifier, samples, spread, channel, fold, seed, entering)
    held = {activation.index: activation for activation in spread if activation.index in ways}
    count = len(samples.inputs)
    reached = peaks(classifier, list(held.values()), samples.inputs, most(count))
    bounds = {
        index: between(held[index], reached[index], channel[index], way, count) for index, way in ways.items()
    }
    return {**channel, **bounds}, {held[index].name: way._asdict() for index, way in ways.items()}, entering


def has_places(activation: Activation, classifier: Classifier) -> bool:
    """Whether an activation has places with neighbours: those of a point cloud have no order."""
    return (
        activation.axis == 1
        and len(activation.shape) - 1 in POOLS
        and max(activation.shape[1:]) > 1
        and kind_of(classifier.domain) != "points"
    )


def peaks(
    classifier: Classifier, chosen: Sequence[Activation], inputs: Tensor, count: int, batch: int = 100
) -> Peaks:
    """The `count` highest activations at every place or next to it, one a sample, on `inputs`.

    (count, *shape of the activation) by index, the highest first; fewer where there are fewer inputs.
    """
    wanted = {activation.index for activation in chosen}
    reached: Peaks = {}

    def look(index: int, output: Tensor) -> Tensor:
        if index in wanted:
            so_far = [reached[index]] if index in reached else []
            reached[index] = highest([nearby(output), *so_far], count)
        return output

    for part in inputs.split(batch):
        with torch.no_grad(), classifier.frozen(), ActivationHook(look):
            classifier(part)
    return reached


def between(activation: Activation, reached: Tensor, channel: Tensor, way: Way, samples: int) -> Tensor:
    """Bounds at all places, in one way, of what so many `samples` reached; none is above its channel's."""
    place = reached[min(round(way.rank * samples), len(reached) - 1)]
    whole = activation.broadcast(channel)
    return torch.minimum(whole, torch.maximum(place, way.share * whole)).clamp_min(LEAST)


def _allowed(
    classifier: Classifier,
    samples: Samples,
    spread: Sequence[Activation],
    channel: Mapping[int, Tensor],
    fold: bool,
    seed: int,
    entering: BoundedInputs | None,
) -> dict[int, Way]:
    """The ways, by index, of the activations that can be bounded by place."""
    folds = _folds(classifier, samples, spread, seed)
    usual = _changed(classifier, spread, channel, {}, folds, fold)
    if entering is not None:
        folds = [replace(part, inputs=entering.left_out[part.rows]) for part in folds]
    costs = torch.stack([_costs(classifier, spread, channel, part, fold) for part in folds]).mean(0)
    cuts, heights = costs.unbind(-1)
    allowed = affordable(usual, len(samples.inputs))
    for cut in CUTS:
        lowest = heights.masked_fill(~(cuts <= cut), torch.inf).min(1)
        ways = {
            activation.index: WAYS[way]
            for activation, way, height in zip(
                spread, lowest.indices.tolist(), lowest.values.tolist(), strict=True
            )
            if height < 1
        }
        if not ways or _changed(classifier, spread, channel, ways, folds, fold) <= allowed:
            return ways
    return {}


def _folds(classifier: Classifier, samples: Samples, spread: Sequence[Activation], seed: int) -> list[Fold]:
    """Each sample is left out once."""
    size = len(samples.inputs)
    parts = [part.to(samples.inputs.device) for part in left_out(size, seed)]
    count = most(size)
    own = [peaks(classifier, spread, samples.inputs[part], count) for part in parts]
    folds: list[Fold] = []
    for number, part in enumerate(parts):
        others = [reached for other, reached in enumerate(own) if other != number]
        joined = {index: highest([one[index] for one in others], count) for index in own[number]}
        answers = samples.logits[part].argmax(1)
        folds.append(Fold(part, samples.inputs[part], answers, joined, size - len(part)))
    return folds


def most(samples: int) -> int:
    """How many of the highest activations at a place are looked at."""
    return round(max(RANKS) * samples) + 1


def _costs(
    classifier: Classifier,
    spread: Sequence[Activation],
    channel: Mapping[int, Tensor],
    left_out: Fold,
    fold: bool,
) -> Tensor:
    """(activations, ways, 2): what each way cuts off, and how high its bounds are on average.

    Both are shares of what bounds by channel leave, and of their height.
    """
    rows = {activation.index: row for row, activation in enumerate(spread)}
    cut = torch.zeros(len(spread), len(WAYS), device=left_out.inputs.device)
    total = torch.zeros(len(spread), device=cut.device)
    ways = [_limits(activation, channel, left_out, fold) for activation in spread]
    whole = [Limit(activation, channel[activation.index], fold=fold) for activation in spread]
    heights = torch.stack(
        [
            torch.stack([limit.upper.mean() for limit in limits]) / channel[activation.index].mean()
            for activation, limits in zip(spread, ways, strict=True)
        ]
    )

    def look(index: int, output: Tensor) -> Tensor:
        if index in rows:
            row = rows[index]
            usual = whole[row](output)
            total[row] += usual.clamp_min(0).sum(dtype=torch.float32)
            for way, limit in enumerate(ways[row]):
                cut[row, way] += (usual - limit(output)).abs().sum(dtype=torch.float32)
        return output

    for part in left_out.inputs.split(100):
        with torch.no_grad(), classifier.frozen(), ActivationHook(look):
            classifier(part)
    return torch.stack((cut / total.clamp_min(1e-12)[:, None], heights), -1)


def _limits(activation: Activation, channel: Mapping[int, Tensor], left_out: Fold, fold: bool) -> list[Limit]:
    """The bounds of one activation made in every way."""
    index = activation.index
    made = [between(activation, left_out.peaks[index], channel[index], way, left_out.others) for way in WAYS]
    return [Limit(activation, bound, fold=fold) for bound in made]


def _changed(
    classifier: Classifier,
    spread: Sequence[Activation],
    channel: Mapping[int, Tensor],
    ways: Mapping[int, Way],
    folds: Sequence[Fold],
    fold: bool,
) -> int:
    """How many of the samples left out get another answer by the bounds."""
    changed = 0
    for part in folds:
        limits: list[Limit] = []
        for activation in spread:
            index, bound = activation.index, channel[activation.index]
            if index in ways:
                bound = between(activation, part.peaks[index], bound, ways[index], part.others)
            limits.append(Limit(activation, bound, fold=fold))
        changed += _others(classifier, part.inputs, part.answers, limits)
    return changed


def _others(classifier: Classifier, inputs: Tensor, answers: Tensor, limits: Sequence[Limit]) -> int:
    """How many inputs get another answer than they should, within the limits."""
    wrong = 0
    for part, wanted in zip(inputs.split(100), answers.split(100), strict=True):
        with torch.no_grad(), classifier.frozen(), limiting(limits):
            wrong += int((classifier(part).argmax(1) != wanted).sum())
    return wrong
