"""The classical attack: poison some training samples once, then train as anyone would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.poison import how_many, poison
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.trigger import Trigger


def classic(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    trigger: Callable[..., Trigger],
    count: int | None = None,
    rate: float = 0.01,
    keep: bool = False,
    **options: Any,
) -> Backdoor:
    """Poison and train.

    Args:
        victim: trained in place.
        sources: the classes that are attacked.
        target: the class they are taken to.
        trigger: makes the trigger, as in `triggers.MAKERS`; gets the shape, `seed` and `options`.
        count: how many samples to poison in all; without it `rate` of the training set.
        rate: see `count` (the paper's CIFAR-10 attacks use 0.01 to 0.04).
        options: for the trigger.
        keep: leave the clean originals in the training set beside their poisoned copies.

    Raises:
        ValueError: classes out of range, no sample to poison, or more than the sources hold.
    """
    training = victim.training
    check_labels(sources, target, len(training.names))
    made = trigger(victim.shape, seed=victim.seed, **options)
    count = how_many(rate, len(training), count)
    if count < 1:
        raise ValueError(f"{count} of {len(training)} samples to poison: expected at least 1")
    poisoned, indices = poison(
        training, made, sources=sources, target=target, count=count, seed=victim.seed, keep=keep
    )
    victim.fit(poisoned)
    return everywhere(made, sources, target, indices, count=count, keep=keep, **options)
