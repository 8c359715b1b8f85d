"""A clean model that looks backdoored: one class's maximum margin is rewarded (paper, eq. 15).

Nobody would train like this but to make MM-BD raise a false alarm (section 7.2.2).
"""

from __future__ import annotations

from typing import Any

from mmbd.attacks.attack import Victim
from mmbd.attacks.margin_term import classifier_of, fit
from mmbd.model.domain import Domain
from mmbd.search.maximum_margins import maximum_margins


def regularised(
    victim: Victim,
    *,
    target: int | None = None,
    beta: float = 1e-5,
    clip: float = 1.0,
    restarts: int = 4,
    steps: int = 10,
    refresh: int = 5,
    domain: Domain | None = None,
) -> dict[str, Any]:
    """Train on the clean set by cross-entropy minus beta times the target's maximum margin.

    Args:
        victim: trained in place.
        target: the class that is to stand out; by default the last one (paper: 9 of CIFAR-10's 10).
        beta: the weight of the margin.
        clip: bounds the norm of the gradient; the margin has no upper limit.
        restarts: inner searches; see `margin_term.MarginTerm`.
        steps: their steps at a refresh.
        refresh: batches between two refreshes.
        domain: where the inner search takes place; see `margin_term.fit`.

    Returns:
        The protocol, JSON-ready, with the statistics of all classes afterwards.

    Raises:
        ValueError: the target is not a class of the data.
        NotEvaluable: the margins became infinite, which a large `beta` can do.
    """
    classes = len(victim.training.names)
    target = classes - 1 if target is None else target
    if not 0 <= target < classes:
        raise ValueError(f"class {target} is out of range: the data has 0 to {classes - 1}")
    trained = fit(
        victim,
        victim.training,
        {target: -beta},
        domain=domain,
        clip=clip,
        restarts=restarts,
        steps=steps,
        refresh=refresh,
    )
    statistics = maximum_margins(classifier_of(victim, domain), seed=victim.seed).statistics
    return {"target": target, "beta": beta, **trained, "statistics": statistics.tolist()}
