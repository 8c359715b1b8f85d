"""Bounds under training as factors of where they start: one a channel, and one a place besides.

Where bounds start by place (`places`), a channel's factor moves all its places together, as samples
are too few to tell each place's own. A place's own factor is for what exceeds the bound there:
nothing else in the loss depends on it, so Adam leaves alone what neither clean nor perturbed samples
reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmbd.model.activations import Activation


class Factors:
    """Bounds by index of their activation, `first` times the exponential of what is trained.

    Args:
        activations: those that are bounded.
        first: where their bounds start, (channels,) or of the activation's shape, by index.

    Attributes:
        channel: (channels,) by index, leaf tensors that need gradients: how far bounds are lowered.
        place: the same for every place, where bounds are by place.
    """

    def __init__(self, activations: Sequence[Activation], first: Mapping[int, Tensor]) -> None:
        self.activations = tuple(activations)
        self.first = dict(first)
        self.channel = {
            activation.index: first[activation.index].new_zeros(activation.channels).requires_grad_()
            for activation in activations
        }
        self.place = {
            index: torch.zeros_like(start).requires_grad_()
            for index, start in first.items()
            if start.dim() > 1
        }

    def bounds(self, rise: float = 0.0, *, places_move: bool = True) -> dict[int, Tensor]:
        """The bounds now, all of them exp(`rise`) times higher; without gradients of places if asked."""
        made: dict[int, Tensor] = {}
        for activation in self.activations:
            index = activation.index
            start, powers = self.first[index], rise - self.channel[index]
            if index in self.place:
                own = self.place[index]
                powers = activation.broadcast(powers) - (own if places_move else own.detach())
            made[index] = start * torch.exp(powers)
        return made

    def height(self) -> Tensor:
        """The mean over activations of the norm of their bounds, relative to where they start.

        Only channels feel it.
        """
        now = self.bounds(places_move=False)
        return torch.stack([z.norm() / self.first[index].norm() for index, z in now.items()]).mean()
