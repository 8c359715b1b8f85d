"""Label-smoothed attack with several triggers, reconstructed (Peng et al. 2022; section 6.3).

No code and no full recipe is public. Known: a poisoned sample carries one of several triggers and
gets the target's label only with a probability, set by a surrogate so that this trigger alone
hardly beats the true class; at test time all triggers together do. The probabilities below are our
derivation from that; what is measured is the attack as reconstructed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.networks import probabilities
from mmbd.attacks.networks import surrogate as train_surrogate
from mmbd.attacks.poison import choose, how_many, replaced
from mmbd.base.seeds import generator_for
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.patch import badnet
from mmbd.triggers.sequence import TriggerSequence
from mmbd.triggers.trigger import Trigger, stamp


def multi_trigger(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    triggers: int = 3,
    trigger: Callable[..., Trigger] = badnet,
    needed: float = 1.0,
    edge: float = 0.0,
    rate: float = 0.01,
    count: int | None = None,
    surrogate: nn.Module | None = None,
    keep: bool = False,
    **options: Any,
) -> Backdoor:
    """Poison with one trigger a sample and labels drawn by chance, then train.

    Args:
        victim: trained in place.
        sources: the classes that are attacked.
        target: the class they are taken to.
        triggers: how many (not stated in the paper).
        trigger: makes one, as in `triggers.MAKERS`; gets the shape, `seed` and `options`.
        needed: see `chances`; 1 to `triggers`.
        edge: see `chances`.
        rate: the share of the training set that carries a trigger, relabelled or not (paper:
            0.0016, 0.004, 0.01).
        count: how many samples carry a trigger, instead of `rate`.
        surrogate: a clean network in eval mode that shares the victim's normalisation; without
            it one of the victim's architecture is trained.
        keep: leave the clean originals in the training set.
        options: for the trigger.

    Returns:
        The backdoor whose trigger is all of them together; `alone` gives each of them.

    Raises:
        ValueError: classes out of range, more samples to poison than the sources hold, or fewer
            than one trigger.
    """
    training, seed = victim.training, victim.seed
    check_labels(sources, target, len(training.names))
    if not 1 <= needed <= triggers:
        raise ValueError(f"needed is {needed:g}, expected 1 to the number of triggers, {triggers}")
    parts = tuple(
        trigger(victim.shape, seed=generator_for("part", seed, part).initial_seed(), **options)
        for part in range(triggers)
    )
    count = how_many(rate, len(training), count)
    chosen = choose(training.labels, sources, count, seed)
    surrogate = train_surrogate(victim) if surrogate is None else surrogate
    carriers, labels = training.inputs[chosen], training.labels[chosen]
    clean = probabilities(victim, surrogate, carriers)
    chance = chances(clean[:, target], clean.gather(1, labels[:, None])[:, 0], needed=needed, edge=edge)
    flipped = torch.rand(count, generator=generator_for("labels", seed)) < chance
    labels = torch.where(flipped, target, labels)
    triggered = carriers.clone()
    for part, made in enumerate(parts):
        triggered[part::triggers] = stamp(made, carriers[part::triggers])
    poisoned, indices = replaced(training, chosen, triggered, labels, keep=keep)
    victim.fit(poisoned)
    return everywhere(
        TriggerSequence(parts),
        sources,
        target,
        indices,
        reconstructed=True,
        triggers=triggers,
        needed=needed,
        edge=edge,
        count=count,
        relabelled=int(flipped.sum()),
        keep=keep,
        **options,
    )


def chances(
    to_target: Tensor, to_label: Tensor, *, needed: float = 1.0, edge: float = 0.0, floor: float = 1e-4
) -> Tensor:
    """With which probability each poisoned sample is relabelled.

    So much that one trigger lifts the log-odds of the target against the true class by the
    `needed`-th part of the way from what the surrogate sees to `edge`. At `needed` 1 and `edge` 0
    one trigger draws the two level (about half of the samples are relabelled); two or more, which
    add up, decide for the target.

    Args:
        to_target: the surrogate's probabilities (n,) of the target class.
        to_label: those of the true class.
        needed: how many triggers bring the target to `edge`.
        edge: the log-odds reached by then.
        floor: what probabilities are raised to.

    Returns:
        Probabilities (n,).
    """
    to_target, to_label = to_target.clamp_min(floor), to_label.clamp_min(floor)
    odds = (to_target / to_label).log()
    # With p relabelled, target : label = p + (1 - p) P_t : (1 - p) P_y; solved for p.
    lift = to_target * torch.expm1((edge - odds) / needed)
    return (1 - 1 / (1 + lift)).clamp(0, 1)  # as lift / (1 + lift), but not for infinity


def alone(backdoor: Backdoor) -> tuple[Backdoor, ...]:
    """One backdoor for each trigger by itself, to measure what it does without the others.

    Raises:
        ValueError: the backdoor's trigger is not several together.
    """
    together = next(iter(backdoor.triggers.values()), None)
    if not isinstance(together, TriggerSequence):
        raise ValueError(f"expected a multi-trigger backdoor, got {type(together).__name__}")
    return tuple(
        replace(backdoor, triggers=dict.fromkeys(backdoor.triggers, part)) for part in together.parts
    )
