"""Changes of a few places of an input, as far as the domain goes: what patches do."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmbd.model.domain import Domain, kind_of

# A sparse perturbation has this many places at least: one alone may be one that training never
# used, such as a corner of every digit, where a clean network can do anything.
LEAST_PLACES = 4


def places(domain: Domain) -> int:
    """How many places an input has: pixels, samples of a sound, points, or elements of a vector."""
    shape = domain.shape
    return math.prod(shape if kind_of(domain) == "vector" else shape[1:])


def sparse(directions: Tensor, domain: Domain, count: int) -> Tensor:
    """Perturbations (batch, *shape) as far as the domain goes, in the places of most worth.

    Args:
        directions: which way to go, and how much an element is worth there, (batch, *shape).
        domain: of the inputs; after adding, project.
        count: of places that change, all where there are not so many.
    """
    extent = domain.extent.to(directions)
    worth = (directions * extent).abs()
    if directions.dim() > 2:  # a place has all the channels, or coordinates
        worth = worth.sum(1, keepdim=True)
    flat = worth.flatten(1)
    best = flat.topk(min(count, flat.shape[1])).indices
    return directions.sign() * extent * torch.zeros_like(flat).scatter_(1, best, 1).view_as(worth)
