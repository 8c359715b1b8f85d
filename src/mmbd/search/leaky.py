"""Gradients through units that are off: whether, and which way, a network can be moved at all.

Where every unit that an output depends on is off or saturated, the network has no gradient there.
While this is active some passes all the same: at random more at one place than at another, so that
units whose effects are made to cancel do not cancel here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# What passes where a unit is off or saturated, as a share of the input's change; on average.
LEAK = 0.1
SWITCHES = frozenset(
    {
        "relu",
        "relu6",
        "hardtanh",
        "threshold",
        "clamp",
        "clamp_min",
        "clamp_max",
        "clip",
        "sigmoid",
        "tanh",
        "hardsigmoid",
        "hardswish",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "log_sigmoid",
        "logsigmoid",
        "leaky_relu",
        "rrelu",
        "prelu",
        "hardshrink",
        "softshrink",
        "tanhshrink",
        "softsign",
        "exp",
        "expit",
        "abs",
        "absolute",
    }
)
# Of these every tensor passes, whichever is chosen.
CHOICES = frozenset({"where", "maximum", "minimum", "fmax", "fmin"})
# Their gradient is zero everywhere, or it goes to what was chosen alone.
HIDING = frozenset(
    {
        "round",
        "floor",
        "ceil",
        "trunc",
        "fix",
        "sign",
        "sgn",
        "heaviside",
        "max",
        "min",
        "amax",
        "amin",
        "aminmax",
        "topk",
        "sort",
        "kthvalue",
        "median",
        "quantile",
    }
)


class Leaky(TorchFunctionMode):
    """While active, gradients also pass through units that are off or saturated; values stay.

    Args:
        generator: of how much passes where; everywhere the same without.

    Attributes:
        blind: whether the network did something that no gradient passes at all, such as comparing
            what depends on the input: that nothing moves an output is then not known.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.blind = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").split(".")[0].strip("_")  # relu_, aten's relu.default
        moving = [arg for arg in (*args, *kwargs.values()) if _moves(arg)]
        if not moving:
            return func(*args, **kwargs)
        first = moving[0]
        if name in SWITCHES and args and args[0] is first:
            args = (first.clone(), *args[1:])  # it may be done in place
        output = func(*args, **kwargs)
        self.blind |= name in HIDING
        if not isinstance(output, Tensor):
            return output
        made = name.startswith("new_") or name.endswith("_like")  # of the same kind, not of values
        self.blind |= not (made or output.requires_grad)
        through = moving if name in CHOICES else [first] if name in SWITCHES else []
        for given in through:
            if output.is_floating_point() and output.shape == given.shape:
                output = output + self._share(given) * (given - given.detach())
        return output

    def _share(self, like: Tensor) -> Tensor | float:
        if self.generator is None:
            return LEAK
        drawn = torch.rand(like.shape, generator=self.generator)
        return (LEAK * (0.5 + drawn)).to(like)


def _moves(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
