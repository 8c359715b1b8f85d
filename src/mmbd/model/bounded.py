"""A network whose activations have bounds (paper, section 5.3, eq. 9), as one module.

The network inside is unchanged. At every bounded activation the output a is replaced by
min(a, z), one bound z a channel, or one for every place of it; or it is folded there,
min(a, max(2 z - a, 0)): what overshoots the bound is mirrored down, so that an activation of twice
its bound counts as none at all. A lower bound may be given too. The network's inputs may have bounds
as well, an upper and a lower one, and fold at both. Such a module pickles, traces and
exports like any other. With bounds by place it takes inputs of the one size they were learned for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmbd.model.activations import INPUTS, Activation, ActivationHook


@dataclass(frozen=True)
class Limit:
    """The bounds of one activation; `fold` mirrors at the upper one, and those of inputs at both.

    Each is (channels,), or has the activation's whole shape: then every place has its own. A channel
    whose lower and upper bound are both zero is pruned.
    """

    activation: Activation
    upper: Tensor
    lower: Tensor | None = None
    fold: bool = False

    def __call__(self, output: Tensor) -> Tensor:
        """`output` (batch, ...) of the activation, bounded.

        Raises:
            ValueError: the bounds are by place, and the output has other places.
        """
        upper = self._spread(self.upper, output)
        if self.activation.index == INPUTS and self.lower is not None:
            lower = self._spread(self.lower, output)
            if self.fold:
                over, under = (output - upper).clamp_min(0), (lower - output).clamp_min(0)
                output = output - 2 * over + 2 * under
            return torch.maximum(torch.minimum(output, upper), lower)
        bounded = torch.minimum(output, (2 * upper - output).clamp_min(0) if self.fold else upper)
        return bounded if self.lower is None else torch.maximum(bounded, self._spread(self.lower, output))

    def _spread(self, values: Tensor, output: Any) -> Tensor:
        # What only stands for a tensor while a network is traced has no shape to compare.
        known = isinstance(output, Tensor) and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        if values.dim() > 1 and known and output.shape[1:] != self.activation.shape:
            raise ValueError(
                f"{self.activation.name} has a bound for every place of {self.activation.shape}, and here "
                f"its output is {tuple(output.shape[1:])}: inputs must have the size that the bounds were "
                "learned for"
            )
        return self.activation.broadcast(values).to(output.dtype)


def limiting(limits: Iterable[Limit]) -> ActivationHook:
    """Inside this context a network's activations stay within `limits`; its inputs do not.

    A fresh one is needed for every forward pass.
    """
    by_index = {limit.activation.index: limit for limit in limits}

    def change(index: int, output: Tensor) -> Tensor:
        limit = by_index.get(index)
        return output if limit is None else limit(output)

    return ActivationHook(change)


class Bounded(nn.Module):
    """A network that keeps its activations within given bounds.

    Args:
        network: used as it is; in eval mode, as activations are counted in the order of one pass.
        limits: the bounds, each with the activation they are for, as `activations.find` gives them, or
            `activations.inputs_of`.

    Raises:
        ValueError: no bounds, two for one activation, or bounds that do not fit theirs.
    """

    def __init__(self, network: nn.Module, limits: Sequence[Limit]) -> None:
        super().__init__()
        if not limits or len({limit.activation.index for limit in limits}) < len(limits):
            raise ValueError(
                "expected bounds for one or more different activations, got some for "
                f"{[limit.activation.name for limit in limits]}"
            )
        self.network = network
        self._shapes = tuple((limit.activation, limit.fold) for limit in limits)
        for limit in limits:
            _check(limit)
            number = numbered(limit.activation.index)
            self.register_buffer(f"upper{number}", limit.upper.detach().clone())
            lower = None if limit.lower is None else limit.lower.detach().clone()
            self.register_buffer(f"lower{number}", lower)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The bounds, as they were given."""
        return tuple(
            Limit(
                activation,
                self.get_buffer(f"upper{numbered(activation.index)}"),
                getattr(self, f"lower{numbered(activation.index)}"),
                fold,
            )
            for activation, fold in self._shapes
        )

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the network returns with its activations bounded."""
        limits = self.limits
        for limit in limits:
            if limit.activation.index == INPUTS:
                inputs = (limit(inputs[0]), *inputs[1:])
        with limiting(limits) as watch:
            output = self.network(*inputs, **options)
        last = max((activation for activation, _ in self._shapes), key=lambda activation: activation.index)
        if watch.count <= last.index:
            raise RuntimeError(
                f"the network passed {watch.count} activations, {last.name} should have been "
                f"number {last.index + 1}: it took another path than when the bounds were learned"
            )
        return output


def numbered(index: int) -> str:
    """An activation's index as names of tensors have it: inputs have none."""
    return "_inputs" if index == INPUTS else str(index)


def same_weights(one: object, other: object) -> bool:
    """Whether two networks agree in every weight and statistic, whatever their bounds."""
    states: list[dict[str, Any]] = []
    for model in (one, other):
        while isinstance(model, Bounded):
            model = model.network
        if not isinstance(model, nn.Module):
            return False
        states.append(model.state_dict())
    first, second = states
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def _check(limit: Limit) -> None:
    name, upper, lower = limit.activation.name, limit.upper, limit.lower
    for kind, values in (("upper", upper), ("lower", lower)):
        if values is None:
            continue
        channels, shape = limit.activation.channels, limit.activation.shape
        if tuple(values.shape) not in ((channels,), shape) or not values.dtype.is_floating_point:
            raise ValueError(
                f"the {kind} bounds of {name} must be {channels} floating-point numbers, got "
                f"{values.dtype} of shape {tuple(values.shape)}"
                + (f"; or one for every place, of shape {shape}" if len(shape) > 1 else "")
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"the {kind} bounds of {name} must be finite")
    if limit.activation.index == INPUTS:
        if lower is None:
            raise ValueError(f"the bounds of {name} must be upper and lower ones")
    elif bool((upper < 0).any()):
        raise ValueError(f"the upper bounds of {name} must be at least 0")
    spread = limit.activation.broadcast
    if lower is not None and bool((spread(lower) > spread(upper)).any()):
        raise ValueError(f"the lower bounds of {name} must not exceed the upper ones")
