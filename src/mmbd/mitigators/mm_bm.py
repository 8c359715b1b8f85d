"""MM-BM tuned against universal perturbations: the default bounds. No weight changes.

Four things differ from section 5.3. Every activation has bounds, and they fold rather than clip
(`bounded`), so a trigger's activations do not merely stop at the bound. Bounds start at what
nearly all clean activations stay under, and move as factors, so that one learning rate suits all
layers. They start lower at places where clean samples drive a channel less, as far as samples that
were left out allow (`places`), and have factors there too (`factors`); where the border is empty, the inputs
have bounds as well (`inputs`), which do not move. And they are lowered where
that undoes the universal perturbations that take clean samples to some class (`universal`), not
only where clean answers do not mind.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor

from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.factors import Factors
from mmbd.mitigators.learned_bounds import Curves, Layers, LearnedBounds, activations, quantiles
from mmbd.mitigators.mitigator import (
    Mitigation,
    Record,
    batches,
    counted,
    disagreement,
    furthest,
    settings_of,
)
from mmbd.mitigators.places import starts
from mmbd.model.bounded import limiting
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search.universal import AdaptivePerturbations

# Where the accuracy is too low all bounds rise by 10 % at a time, to 20 times what was tuned.
RISE, LOWEST, STEP = 0.5, -5.0, 0.2


def mm_bm(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: Layers = "all",
    accuracy: float = 0.97,
    fold: bool = True,
    share: float = 0.998,
    places: str = "auto",
    lr: float = 0.1,
    steps: int = 24,
    batch: int = 100,
    against: float = 0.2,
    norm: float = 0.02,
    perturbations: tuple[str, ...] = ("added", "sparse"),
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Bounds that keep clean answers and undo universal perturbations.

    The loss is the disagreement of the bounded with the unbounded network on clean samples, plus
    `against` times that on perturbed ones, plus `norm` times the mean relative norm of the bounds, which
    moves channels as a whole only.
    If the accuracy on the samples ends below `accuracy` of what it was, all bounds rise by the same
    factor until it does not (`extent` in the record's settings is then below 1).

    Args:
        classifier: what to repair.
        samples: clean ones, 20 a class or more.
        layers: which activations: "all", "paper" (three near the input), or names.
        accuracy: the share of the accuracy on the samples to keep.
        fold: mirror what overshoots a bound; else clip it.
        share: the quantile of a channel's clean activations that its bound starts at.
        places: where bounds start: "channel" has one bound for all places of a channel, "place" what
            the samples reach at each place, and "auto" something between them for each activation,
            see `places`. Those of point clouds have no order, so they have bounds by channel. By "auto" the
            inputs of images and sounds may have bounds, too, if `layers` is "all", see `inputs`.
        lr: of Adam, on the logarithms of the bounds; falls to zero along a cosine.
        steps: of the optimiser.
        batch: samples a step.
        against: the weight of the disagreement on perturbed samples.
        norm: the weight of the bounds' norm.
        perturbations: the kinds to tune against, names in `perturbations.KINDS`.
        seed: of the order of the samples and the starts of the perturbations.
        progress: called after every step.

    The record's settings hold, besides these, `extent` and `by_place`, the rank and share
    (`ways.Way`) of the activations whose bounds are by place, by name; bounds on inputs are called "inputs".

    Raises:
        ValueError: another word for `places`.
        NotMitigated: no activations that could be bounded, or no bounds kept the accuracy.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    chosen = activations(classifier, layers)
    generator = generator_for("mm-bm", seed)
    highest = quantiles(classifier, chosen, samples.inputs, 1.0)
    first, by_place, entering = starts(
        classifier,
        samples,
        chosen,
        quantiles(classifier, chosen, samples.inputs, share),
        places=places,
        fold=fold,
        seed=seed,
        inputs=layers == "all",
    )
    if entering is not None:
        by_place = {entering.limit.activation.name: entering.way._asdict()} | by_place
    factors = Factors(chosen, first)
    optimizer = torch.optim.Adam([*factors.channel.values(), *factors.place.values()], lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    curves = Curves()

    def bounds(extent: float = 1.0) -> dict[int, Tensor]:
        return factors.bounds(RISE * (1 - extent))

    learned = LearnedBounds(classifier, samples, chosen, highest, {}, fold, entering)

    def bounded(inputs: Tensor, values: dict[int, Tensor]) -> Tensor:
        with limiting(learned.limits(values)):
            return classifier(inputs if entering is None else entering(inputs))

    tell = counted(progress, "mm-bm", steps)
    with classifier.frozen():
        adaptive = AdaptivePerturbations(classifier, samples, perturbations, generator)
        for indices in batches(len(samples.labels), batch, steps, generator):
            inputs, wanted = samples.inputs[indices], samples.logits[indices]
            values = bounds()
            fixed = {index: z.detach() for index, z in values.items()}
            parts = [inputs, *adaptive.perturbed(partial(bounded, values=fixed), inputs)]
            clean, *fooled = (
                disagreement(part, wanted) for part in bounded(torch.cat(parts), values).split(len(inputs))
            )
            missed = sum(fooled, torch.zeros(()))
            height = factors.height()
            optimizer.zero_grad()
            (clean + against * missed + norm * height).backward()
            optimizer.step()
            scheduler.step()
            curves.add(clean=clean, fooled=missed, height=height)
            tell()
        with torch.no_grad():
            extent = furthest(
                lambda extent: samples.accuracy(bounded(samples.inputs, bounds(extent))),
                accuracy * samples.accuracy(samples.logits),
                lowest=LOWEST,
                step=STEP,
            )
            final = bounds(extent)
            outcome = adaptive.outcome(classifier, partial(bounded, values=final), samples)
    record = Record(
        "mm-bm",
        True,
        settings=settings | {"extent": extent, "by_place": by_place},
        curves=curves.lists,
        perturbations=tuple(outcome),
    )
    return learned.finish({i: z.detach() for i, z in final.items()}, record, started)
