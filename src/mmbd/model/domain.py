"""Where inputs live: how to draw a random point, how far apart points are, how to project back.

Images, sounds and flat vectors are boxes. Another kind of input (a point cloud, say) is another
class with the same members; nothing else in the package knows what an input is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

Bound = float | Sequence[float] | Tensor
# Smooth inputs have one random value in so many elements along each axis but the first.
GRAIN = 8
SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class InputKind:
    """A row of `KINDS`: what inputs of a kind are called, and what one looks like."""

    title: str
    shape: str


# By the word that `Domain.kind` says; a domain may have a kind of its own that is not here.
KINDS: dict[str, InputKind] = {
    "image": InputKind("images", "(channels, height, width)"),
    "sound": InputKind("sounds", "(channels, samples)"),
    "vector": InputKind("vectors", "(features,)"),
    "points": InputKind("point clouds", "(3, points)"),
    "array": InputKind("arrays of four axes and more", "(channels, depth, height, width)"),
}


@runtime_checkable
class Domain(Protocol):
    """The set of valid inputs of a classifier.

    A domain may also say its `kind`, a word of `KINDS` or one of its own; see `kind_of`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        ...

    @property
    def extent(self) -> Tensor:
        """How far each element can range, broadcastable to `shape`: the unit of a step."""
        ...

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest element of any valid input; None where there are none."""
        ...

    def sample(self, generator: torch.Generator) -> Tensor:
        """One uniform random input, on the CPU."""
        ...

    def project_(self, inputs: Tensor) -> Tensor:
        """Move a batch of points to the nearest valid inputs, in place; returns it."""
        ...


class Box:
    """All x with low <= x <= high, element by element.

    Args:
        shape: the shape of one input, for example (3, 32, 32) or (1, 8000).
        low, high: a number, one value a channel (the first axis), or a tensor that broadcasts to
            `shape`.

    Raises:
        ValueError: bounds that are not finite, not low < high, or do not fit the shape.
    """

    def __init__(self, shape: Sequence[int], low: Bound = 0.0, high: Bound = 1.0) -> None:
        self._shape = tuple(int(length) for length in shape)
        if not self._shape or min(self._shape) < 1:
            raise ValueError(f"input_shape must be positive lengths, got {tuple(shape)}")
        self.low = broadcastable(low, self._shape)
        self.high = broadcastable(high, self._shape)
        if not torch.all(self.low < self.high):
            raise ValueError(f"bounds must satisfy low < high everywhere, got {low} and {high}")

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def extent(self) -> Tensor:
        return self.high - self.low

    @property
    def kind(self) -> str:
        return kind_of_shape(self._shape)

    @property
    def bounds(self) -> tuple[float, float] | None:
        return float(self.low.min()), float(self.high.max())

    def sample(self, generator: torch.Generator) -> Tensor:
        return self.low + self.extent * torch.rand(self._shape, generator=generator)

    def project_(self, inputs: Tensor) -> Tensor:
        if self.low.dim() == 0 and self.high.dim() == 0:
            return inputs.clamp_(float(self.low), float(self.high))
        return inputs.clamp_(self.low.to(inputs.device), self.high.to(inputs.device))

    def __repr__(self) -> str:
        return f"Box({self._shape}, low={_brief(self.low)}, high={_brief(self.high)})"


def kind_of(domain: Domain) -> str:
    """The kind of a domain's inputs, as it says itself; else the kind that inputs of its shape are."""
    kind = getattr(domain, "kind", None)
    return kind if isinstance(kind, str) else kind_of_shape(domain.shape)


def kind_of_shape(shape: Sequence[int]) -> str:
    """What inputs of a shape are taken for where nothing else is said; never point clouds."""
    return {1: "vector", 2: "sound", 3: "image"}.get(len(shape), "array")


def broadcastable(value: Bound, shape: tuple[int, ...], name: str = "bounds") -> Tensor:
    """`value` as a float32 CPU tensor that broadcasts to `shape`; `name` is for the ValueError."""
    bound = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    if not torch.isfinite(bound).all():
        raise ValueError(f"{name} must be finite, got {value}")
    if bound.dim() == 1 and len(shape) > 1 and len(bound) == shape[0]:
        bound = bound.reshape(-1, *[1] * (len(shape) - 1))
    try:
        bound.expand(shape)  # broadcast_shapes would import sympy, which takes a second
    except RuntimeError:
        raise ValueError(
            f"{name} of shape {tuple(bound.shape)} does not broadcast to inputs of shape {shape}; "
            "give a number, or one value a channel"
        ) from None
    return bound


def _brief(bound: Tensor) -> str:
    if bound.numel() == 1:
        return f"{float(bound):g}"
    return f"{float(bound.min()):g}..{float(bound.max()):g}"


def check_units(
    bounds: tuple[float, float] | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> None:
    """ValueError for a normalisation that is in other units than the inputs.

    Args:
        bounds: the lowest and the highest valid input.
        mean: what is subtracted from inputs, if anything.
        std: what they are divided by.
    """
    if bounds is None:
        return
    low, high = bounds
    outside = [value for value in mean or () if not low <= value <= high]
    small = high - low > 100 and max(map(abs, mean or (0.0,))) <= 1 and max(std or (2.0,)) <= 1
    if outside or small:
        what = (
            f"the mean {outside[0]:g} lies outside the bounds of the inputs"
            if outside
            else "mean and std are those of inputs up to 1, the bounds are"
        )
        raise ValueError(
            f"{what}, {low:g} to {high:g}: give mean, std and bounds in the same units, such as "
            "--bounds 0 255 with means like 125, or --bounds 0 1 with means like 0.49"
        )


def elements(domain: Domain) -> int:
    """How many numbers one input holds."""
    return math.prod(domain.shape)


def smooth(domain: Domain, generator: torch.Generator) -> Tensor:
    """A random input that varies slowly along the axes of a picture or a sound.

    Other inputs (flat vectors, point clouds) have no such axes and are drawn as the domain does.
    """
    drawn = domain.sample(generator)
    lengths = drawn.shape[1:]
    if not isinstance(domain, Box) or len(lengths) not in SMOOTH:
        return drawn
    coarse = drawn[(slice(None), *(slice(max(2, length // GRAIN)) for length in lengths))]
    fine = F.interpolate(coarse[None], lengths, mode=SMOOTH[len(lengths)], align_corners=False)
    return domain.project_(fine)[0]
