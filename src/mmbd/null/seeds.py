"""One verdict from the same test with several random seeds, at the level that was asked for.

The p-values of one model under different seeds depend on each other in ways nobody knows. The k-th
smallest of m, times m / k, is a p-value whatever they have in common (Rueger 1978). With k the
smallest majority, a model is called backdoored where most seeds say so, and a little more clearly
than one alone has to; two seeds have to agree.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mmbd.null import Judgement

RULE = "the majority's largest p-value, times the number of seeds over that of the majority"


def majority(count: int) -> int:
    """The smallest number that is more than half of `count`."""
    return count // 2 + 1


def pooled(judgements: Sequence[Judgement], level: float) -> tuple[int, Judgement]:
    """The place of the seed that decides, and its judgement with the p-value of all of them.

    A seed that could not be judged counts as a p-value of 1; unless the others suffice for
    "backdoored", the model is then not evaluable.

    Args:
        judgements: of the same model by the same null, one a seed.
        level: reject at p <= level.
    """
    if len(judgements) == 1:
        return 0, judgements[0]
    count, rank = len(judgements), majority(len(judgements))
    values = [1.0 if one.p_value is None else one.p_value for one in judgements]
    place = sorted(range(count), key=lambda seed: (values[seed], seed))[rank - 1]
    decisive, factor = judgements[place], count / rank
    unjudged = next((one for one in judgements if one.verdict == "not evaluable"), None)
    together = min(1.0, values[place] * factor)
    if together <= level and decisive.targets:
        votes = Counter(label for one in judgements for label in one.targets)
        named = tuple(label for label in decisive.targets if votes[label] >= rank)
        return place, _with(decisive, together, factor, targets=named or decisive.targets)
    if unjudged is not None:
        return judgements.index(unjudged), unjudged
    return place, _with(decisive, together, factor, targets=())


def _with(one: Judgement, value: float, factor: float, *, targets: tuple[int, ...]) -> Judgement:
    answers = tuple(
        replace(
            answer,
            value=value,
            log10=min(0.0, (answer.log10 or 0.0) + math.log10(factor)),
            parameters={**answer.parameters, "seeds_factor": factor},
        )
        if answer.null == one.null
        else answer
        for answer in one.p_values
    )
    verdict = "backdoored" if targets else "clean"
    return replace(one, verdict=verdict, reason=None, targets=targets, p_value=value, p_values=answers)
