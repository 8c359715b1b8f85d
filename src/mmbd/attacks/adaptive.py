"""An attacker who knows MM-BD and fine-tunes against it (paper, section 6.6, eqs. 12 to 14).

The victim gets an ordinary backdoor. Then it is trained on, on the same poisoned set, with the
target's maximum margin in the loss: down with it (eq. 13), and in the stronger form up with all the
others too (eq. 14). The paper gives neither optimiser nor inner search. Here it is Adam, under
which a weight of 1e-5 is felt once the cross-entropy is near zero, since its steps forget the scale
of a gradient; the protocol holds both terms' gradient norms, to see which one leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmbd.attacks.attack import Victim
from mmbd.attacks.classic import classic
from mmbd.attacks.margin_term import classifier_of, fit
from mmbd.attacks.poison import poison
from mmbd.model.domain import Domain
from mmbd.search.maximum_margins import maximum_margins
from mmbd.triggers.backdoor import Backdoor
from mmbd.triggers.patch import badnet
from mmbd.triggers.trigger import Trigger


def adaptive(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    trigger: Callable[..., Trigger] = badnet,
    count: int | None = None,
    rate: float = 0.01,
    keep: bool = False,
    beta: float | None = None,
    raise_others: bool = False,
    epochs: int = 1,
    lr: float | None = None,
    clip: float = 1.0,
    poisoned_share: float | None = None,
    restarts: int = 4,
    steps: int = 10,
    refresh: int = 5,
    domain: Domain | None = None,
    **options: Any,
) -> Backdoor:
    """Attack as `classic` does, then fine-tune against the maximum margin statistic.

    Args:
        victim: trained in place.
        sources: the classes that are attacked.
        target: the class they are taken to, and whose statistic is pushed down.
        trigger: makes the trigger, see `classic`.
        count: as in `classic`.
        rate: as in `classic`.
        keep: as in `classic`.
        beta: the weight of the margins; by default the paper's strongest, 1e-4 for eq. 13 and 1e-5
            for eq. 14. Networks that train for fewer steps need more.
        raise_others: eq. 14: pull the statistics of all other classes up as well.
        epochs: of the fine-tuning.
        lr: its constant learning rate; by default a tenth of the recipe's.
        clip: bounds the norm of the gradient.
        poisoned_share: the weight of the poisoned samples in the cross-entropy,
            beta_B / (beta_T + beta_B) of eq. 12, by drawing them that often; by default all samples
            weigh the same.
        restarts: inner searches a class; see `margin_term.MarginTerm`.
        steps: their steps at a refresh.
        refresh: batches between two refreshes.
        domain: where the inner search takes place; see `margin_term.fit`.
        options: for the trigger.

    Returns:
        The backdoor; its protocol has the statistics of all classes before and after, from starts
        that the fine-tuning has not seen.

    Raises:
        ValueError: see `classic`; or poisoned_share is not in (0, 1).
        NotEvaluable: the margins became infinite, which a large `beta` can do.
    """
    if poisoned_share is not None and not 0 < poisoned_share < 1:
        raise ValueError(f"poisoned_share must be between 0 and 1, got {poisoned_share}")
    if beta is None:
        beta = 1e-5 if raise_others else 1e-4
    backdoor = classic(
        victim, sources=sources, target=target, trigger=trigger, count=count, rate=rate, keep=keep, **options
    )
    settings = backdoor.protocol
    training, indices = poison(  # the very set that the victim was trained on
        victim.training,
        backdoor.triggers[sources[0]],
        sources=sources,
        target=target,
        count=settings["count"],
        seed=victim.seed,
        keep=keep,
    )
    recipe = replace(
        victim.recipe,
        epochs=epochs,
        lr=victim.recipe.lr / 10 if lr is None else lr,
        optimizer="adam",
        schedule="constant",
    )
    others = set(range(len(training.names))) - {target} if raise_others else set[int]()
    classifier = classifier_of(victim, domain)
    before = maximum_margins(classifier, seed=victim.seed).statistics.tolist()
    tuned = fit(
        replace(victim, recipe=recipe),
        training,
        {target: beta} | dict.fromkeys(others, -beta),
        domain=domain,
        clip=clip,
        restarts=restarts,
        steps=steps,
        refresh=refresh,
        sample_weights=_weights(len(training), indices, poisoned_share),
    )
    after = maximum_margins(classifier, seed=victim.seed).statistics.tolist()
    return replace(
        backdoor,
        protocol={
            **settings,
            "beta": beta,
            "raise_others": raise_others,
            "epochs": epochs,
            "lr": recipe.lr,
            "poisoned_share": poisoned_share,
            **tuned,
            "statistics": {"before": before, "after": after},
        },
    )


def _weights(samples: int, poisoned: Tensor, share: float | None) -> Tensor | None:
    """How often to draw each sample so that `share` of all draws are poisoned ones."""
    if share is None or not len(poisoned):
        return None
    weights = torch.full((samples,), (1 - share) / (samples - len(poisoned)))
    weights[poisoned] = share / len(poisoned)
    return weights
