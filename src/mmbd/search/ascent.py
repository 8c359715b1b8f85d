"""How one search climbs: the rule of a step, its size over time, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mmbd.base.choose import unknown
from mmbd.model.domain import Domain, elements

Rule = Literal["plain", "l2", "sign"]
Constraint = Literal["project", "clamp"]

# Below this norm of a float32 gradient, squares of its elements may have underflowed.
TINY_NORM = 1e-15


@dataclass(frozen=True)
class Ascent:
    """Settings of gradient ascent on a class's margin.

    Args:
        restarts: searches a class, each from its own random start.
        steps: the most gradient evaluations a search may spend.
        rule: "plain" adds size * gradient, in input units; "l2" moves by the direction of the
            gradient, with a root-mean-square of `size` extents an element; "sign" moves every
            element by `size` extents.
        size: the first step's size.
        final_size: the last step's size as a share of the first; it falls along a line.
        momentum: the share of the last direction that is kept ("l2" and "sign" only).
        constraint: "project" moves every step's result back into the domain (the paper);
            "clamp" lets it leave and clamps in the forward pass (the authors' script), where the
            gradient of an element outside is zero.
        tolerance: a search has converged when its margin's relative change stays below this
            for `patience` steps running.
        patience: see `tolerance`.
    """

    restarts: int
    steps: int
    rule: Rule
    size: float
    final_size: float = 1.0
    momentum: float = 0.0
    constraint: Constraint = "project"
    tolerance: float = 1e-5
    patience: int = 1

    def __post_init__(self) -> None:
        for kind, given, known in (("rule", self.rule, Rule), ("constraint", self.constraint, Constraint)):
            if given not in get_args(known):
                raise ValueError(unknown(kind, given, get_args(known)))
        if self.restarts < 1 or self.steps < 1 or self.patience < 1:
            raise ValueError("restarts, steps and patience must be at least 1")
        if not self.size > 0 or not self.tolerance >= 0:
            raise ValueError("size must be positive and tolerance not negative")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and less than 1, got {self.momentum}")
        if self.rule == "plain" and self.momentum:
            raise ValueError("momentum belongs to the rules l2 and sign; the paper's has none")

    def sizes(self, step: Tensor) -> Tensor:
        """The step size (batch,) of searches that are at these steps, counted from 0."""
        share = step / max(self.steps - 2, 1)
        return self.size * (1 - (1 - self.final_size) * share.clamp(max=1.0))

    def direction(self, gradient: Tensor, domain: Domain) -> Tensor:
        """The unscaled step for a gradient (batch, *shape); zero gradients stay zero."""
        if self.rule == "plain":
            return gradient
        if self.rule == "sign":
            return gradient.sign().mul_(domain.extent.to(gradient))
        scaled, factor = self._l2(gradient, domain)
        return scaled * factor

    def follow_(self, velocity: Tensor, gradient: Tensor, domain: Domain) -> Tensor:
        """The direction with momentum; `velocity`, the last one, is changed in place to it."""
        if not self.momentum:
            return self.direction(gradient, domain)
        velocity.mul_(self.momentum)
        if self.rule == "l2":
            return velocity.addcmul_(*self._l2(gradient, domain))
        return velocity.add_(self.direction(gradient, domain))

    def _l2(self, gradient: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Two factors of the direction of rule "l2": the scaled gradient, and one number a row."""
        extent = domain.extent.to(gradient)
        inner = tuple(range(1, gradient.dim()))  # without flattening, which would copy
        scaled = gradient * extent if extent.numel() > 1 else gradient
        norm = torch.linalg.vector_norm(scaled, dim=inner, keepdim=True)
        if float(norm.min()) < TINY_NORM:  # squares underflow: scale rows to at most 1 first
            largest = scaled.abs().amax(inner, keepdim=True)
            scaled = scaled / largest.clamp_min(torch.finfo(scaled.dtype).tiny)
            norm = torch.linalg.vector_norm(scaled, dim=inner, keepdim=True).clamp_min(0.5)
        return scaled, math.sqrt(elements(domain)) / norm * extent


# The paper's section 5.2 and the authors' script, which agree on all of these but the constraint.
PAPER = Ascent(restarts=30, steps=300, rule="plain", size=1e-2)

FAST = Ascent(restarts=4, steps=20, rule="l2", size=0.05, final_size=0.1, momentum=0.5)
