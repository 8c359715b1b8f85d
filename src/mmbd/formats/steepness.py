"""Whether a function of one number is as steep as a step.

A number over its own size is, and a tanh of a huge multiple. The value is followed to where it changes most.
It is a step where a third of all that it ever changes by happens within a five-hundredth of what its argument
is spread over. A pulse so narrow that no trial meets it is not found.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

REACH = range(-6, 14)  # arguments are tried up to 2^13 times what they are spread over, either way
WIDTH, SHARE = 2e-3, 0.3
Pair = tuple[Tensor, Tensor]


def jumps(value: Callable[[Tensor], Tensor], shape: tuple[int, ...], spread: float) -> bool | None:
    """Whether any number of the function has a step.

    Args:
        value: arguments (n, *rest) to as many values, place by place.
        shape: (1, *rest) of arguments that are tried at once.
        spread: the standard deviation of usual arguments.

    Returns:
        None where values have another shape than their arguments.
    """
    ladder = [spread * 2.0**power for power in REACH]
    # Not 0 itself, where a number over its own size is none.
    steps = [*(-each for each in reversed(ladder)), 1e-4 * spread, *ladder]
    edges = torch.tensor(steps, dtype=torch.float64)
    made = value(edges.reshape(-1, *[1] * (len(shape) - 1)).expand(-1, *shape[1:]))[:, None]
    if made.shape[2:] != shape[1:]:
        return None
    finite = made.isfinite()
    low = torch.where(finite, made, torch.inf).amin(0)
    high = torch.where(finite, made, -torch.inf).amax(0)
    whole = (high - low).nan_to_num(0.0, 0.0, 0.0)
    change = (made[1:] - made[:-1]).abs().nan_to_num(0.0, 0.0, 0.0)
    first = change.argmax(0)
    ends = edges[first], edges[first + 1]
    levels = made.gather(0, first[None])[0], made.gather(0, first[None] + 1)[0]
    ends, levels = _closer(value, ends, levels, WIDTH * spread)
    jump = (levels[1] - levels[0]).abs()
    _, levels = _closer(value, ends, levels, WIDTH / 64 * spread)
    large = whole > 1e-6 * torch.maximum(low.abs(), high.abs()).nan_to_num(0.0, 0.0, 0.0)
    pole = (levels[1] - levels[0]).abs() > 1.5 * jump  # grows without end, and is no step
    return bool((large & ~pole & (jump > SHARE * whole)).any())


def _closer(value: Callable[[Tensor], Tensor], ends: Pair, levels: Pair, width: float) -> tuple[Pair, Pair]:
    """Intervals halved until they are so narrow, always the half over which the value changes more."""
    (left, right), (at_left, at_right) = ends, levels
    for _ in range(REACH[-1] - REACH[0] + 3):
        wide = right - left > width
        if not bool(wide.any()):
            break
        middle = (left + right) / 2
        at_middle = value(middle)
        upper = wide & ((at_right - at_middle).abs() > (at_middle - at_left).abs())
        lower = wide & ~upper
        left, at_left = torch.where(upper, middle, left), torch.where(upper, at_middle, at_left)
        right, at_right = torch.where(lower, middle, right), torch.where(lower, at_middle, at_right)
    return (left, right), (at_left, at_right)


def spread_of(numbers: Tensor) -> float:
    """The standard deviation of a value's finite numbers; the size of one that is alone."""
    known = numbers.detach()[numbers.detach().isfinite()].double()
    if not known.numel():
        return 0.0
    deviation = float(known.std(correction=0))
    return deviation if deviation > 0 else float(known.abs().max()) or 1.0
