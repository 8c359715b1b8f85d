"""All-to-all: every class is taken to another one (Gu et al. 2017; MM-BD paper, section 7.1).

The paper's version draws a random derangement and gives every pair a pattern of its own (footnote
9); the released script takes class i to i + 1 with one pattern for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.poison import choose, how_many, of_classes, replaced
from mmbd.base.seeds import generator_for
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.patch import badnet
from mmbd.triggers.trigger import Trigger, stamp


def all_to_all(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    order: Literal["random", "next"] = "random",
    shared: bool = False,
    trigger: Callable[..., Trigger] = badnet,
    rate: float = 0.1,
    count: int | None = None,
    keep: bool = False,
    **options: Any,
) -> Backdoor:
    """Poison some samples of every class and train.

    Args:
        victim: trained in place.
        sources: with the target, the classes that take part; the usual call, all other classes to
            one target, makes every class the target of exactly one other.
        target: takes part like any source.
        order: "random" draws a permutation without fixed points; "next" takes each class to the
            next one that takes part, and the last one to the first.
        shared: one trigger for all pairs, instead of one for each.
        trigger: makes a trigger, as in `triggers.MAKERS`; gets the shape, `seed` and `options`.
        rate: the share of every class that is poisoned (paper: 500 of 5000).
        count: how many samples of every class to poison, instead of `rate`.
        keep: leave the clean originals in the training set.
        options: for the trigger.

    Raises:
        ValueError: classes out of range, an unknown order, or more samples to poison than a class
            holds.
    """
    training, seed = victim.training, victim.seed
    check_labels(sources, target, len(training.names))
    taking_part = sorted({*sources, target})
    targets = pairs(taking_part, order, seed)
    one = trigger(victim.shape, seed=seed, **options)
    triggers = {
        source: one if shared else trigger(victim.shape, seed=_seed_of(seed, source), **options)
        for source in taking_part
    }
    chosen = [
        choose(
            training.labels,
            [source],
            how_many(rate, len(of_classes(training.labels, [source])), count),
            _seed_of(seed, source),
        )
        for source in taking_part
    ]
    triggered = torch.cat(
        [
            stamp(triggers[source], training.inputs[indices])
            for source, indices in zip(taking_part, chosen, strict=True)
        ]
    )
    indices = torch.cat(chosen)
    wanted = torch.tensor([targets[int(label)] for label in training.labels[indices]])
    poisoned, indices = replaced(training, indices, triggered, wanted, keep=keep)
    victim.fit(poisoned)
    protocol = {"order": order, "shared": shared, "rate": rate, "count": count, "keep": keep}
    return Backdoor(triggers, targets, indices, {**protocol, **options})


def pairs(classes: Sequence[int], order: Literal["random", "next"], seed: int) -> dict[int, int]:
    """The target of each class, never itself; "random" is uniform over all such permutations.

    Raises:
        ValueError: an unknown order, or fewer than two classes.
    """
    if len(set(classes)) < 2:
        raise ValueError(f"all-to-all needs at least two classes, got {list(classes)}")
    if order == "next":
        return dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    if order != "random":
        raise ValueError(f"unknown order {order!r}; known: random, next")
    generator = generator_for("derangement", seed)
    while True:  # e tries on average, whatever the number of classes
        shuffled = torch.randperm(len(classes), generator=generator).tolist()
        if all(place != index for place, index in enumerate(shuffled)):
            return {source: classes[place] for source, place in zip(classes, shuffled, strict=True)}


def _seed_of(seed: int, source: int) -> int:
    return generator_for("pair", seed, source).initial_seed()
