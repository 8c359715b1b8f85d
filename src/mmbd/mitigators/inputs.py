"""Bounds on the inputs themselves: what clean samples hold at every pixel and channel, or at every moment.

A perceptron has no places, so no bound on its activations can tell bright pixels in a corner from strokes
elsewhere. Its inputs have places. Where the border is empty, an input is kept between the lowest and the
highest value that the samples have there, or next to it, but for a share of them, and what goes beyond a
bound is mirrored there (`model.bounded`). Bounds are as narrow as samples allow from which they were not
made. Where samples fill nearly the whole range of every place, as natural pictures do, there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmbd.mitigators.ways import FEWEST, Way, affordable, highest, left_out, nearby
from mmbd.model.activations import Activation, inputs_of
from mmbd.model.bounded import Limit
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.samples import Samples

KINDS = ("image", "sound")
# Further than for activations: bounds on inputs are not lowered afterwards.
WAYS = tuple(Way(rank, share) for rank in (0.0, 0.01, 0.025, 0.05) for share in (0.0, 0.2, 0.5))
EMPTY = (
    0.9  # of the range of a channel: 200 digits span 81 % at a place, letters 54 %, natural pictures 99.9 %
)


@dataclass(frozen=True)
class BoundedInputs:
    """Bounds on inputs in the classifier's own units, how they were made, and the samples (n, *shape), each
    within the bounds that the other thirds of them give.
    """

    limit: Limit
    way: Way
    left_out: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """Inputs (n, *shape) within the bounds."""
        return self.limit(inputs)

    def inside(self, classifier: Classifier) -> Limit:
        """The bounds in the network's units, that is, normalised."""
        assert self.limit.lower is not None
        lower, upper = classifier.normalised(torch.stack((self.limit.lower, self.limit.upper)))
        return replace(self.limit, upper=upper, lower=lower)


def bounded_inputs(
    classifier: Classifier, samples: Samples, changed: Callable[[Tensor], int], *, seed: int
) -> BoundedInputs | None:
    """The narrowest bounds on inputs that change few answers to samples that were left out.

    Args:
        classifier: the network, frozen.
        samples: clean ones.
        changed: how many of the samples get another answer when they are replaced by these (n, *shape), with
            the activations bounded by channel.
        seed: of the thirds in which samples are left out.

    Returns:
        None where inputs have no places, samples are too few or fill the range of every place, or no bounds
        are possible that change no more than `ways.CHANGED` of the answers more than bounds by channel.
    """
    x = samples.inputs
    if kind_of(classifier.domain) not in KINDS or len(x) < FEWEST:
        return None
    activation = inputs_of(classifier)
    whole = _Ends.of([_Ends.on(x, len(x))], len(x))
    if whole.spans(WAYS[0]) > EMPTY:
        return None
    parts = [part.to(x.device) for part in left_out(len(x), seed)]
    own = [_Ends.on(x[part], len(x)) for part in parts]
    others = [
        _Ends.of([one for other, one in enumerate(own) if other != number], len(x) - len(part))
        for number, part in enumerate(parts)
    ]
    allowed = affordable(changed(x), len(x))
    for way in sorted(WAYS, key=whole.spans):
        within = x.clone()
        for part, ends in zip(parts, others, strict=True):
            within[part] = ends.limit(activation, way)(x[part])
        if changed(within) <= allowed:
            return BoundedInputs(whole.limit(activation, way), way, within)
    return None


@dataclass(frozen=True)
class _Ends:
    """The highest and the lowest values at every place or next to it, one a sample, the outermost first, and
    those of whole channels (channels, 1...); of so many `samples`.
    """

    upper: Tensor
    lower: Tensor
    top: Tensor
    bottom: Tensor
    samples: int

    @classmethod
    def on(cls, x: Tensor, of: int) -> _Ends:
        """Of these inputs, as many as ways need that are made of `of` samples."""
        count = round(max(way.rank for way in WAYS) * of) + 1
        upper: list[Tensor] = []
        lower: list[Tensor] = []
        for part in x.split(100):
            upper = [highest([nearby(part), *upper], count)]
            lower = [highest([nearby(-part), *lower], count)]
        axes = (0, *range(2, x.dim()))
        top, bottom = x.amax(axes, keepdim=True)[0], x.amin(axes, keepdim=True)[0]
        return cls(upper[0], -lower[0], top, bottom, len(x))

    @classmethod
    def of(cls, parts: Sequence[_Ends], samples: int) -> _Ends:
        """Of all parts together."""
        count = len(parts[0].upper)
        return cls(
            highest([part.upper for part in parts], count),
            -highest([-part.lower for part in parts], count),
            torch.stack([part.top for part in parts]).amax(0),
            torch.stack([part.bottom for part in parts]).amin(0),
            samples,
        )

    def limit(self, activation: Activation, way: Way) -> Limit:
        """The bounds that are made in one way."""
        upper, lower = self._made(way)
        return Limit(activation, upper, lower, fold=True)

    def spans(self, way: Way) -> float:
        """How far the bounds are apart on average, as a share of the range of their channel."""
        upper, lower = self._made(way)
        return float(((upper - lower) / (self.top - self.bottom).clamp_min(1e-12)).mean())

    def _made(self, way: Way) -> tuple[Tensor, Tensor]:
        place = min(round(way.rank * self.samples), len(self.upper) - 1)
        least = way.share * (self.top - self.bottom)
        upper = torch.maximum(self.upper[place], self.bottom + least)
        return upper, torch.minimum(torch.minimum(self.lower[place], self.top - least), upper)
