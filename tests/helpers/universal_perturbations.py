"""Universal perturbations of given values, and inputs for them."""

from __future__ import annotations

import torch

from mmbd.base.seeds import generator_for
from mmbd.model.domain import Box
from mmbd.search.perturbations import Perturbations

IMAGES = Box((2, 8, 12), [0.0, -3.0], [1.0, 5.0])  # a range a channel, and not square


def noise(shape, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def valid(domain, count: int = 20) -> torch.Tensor:
    return torch.stack([domain.sample(generator_for("valid", i)) for i in range(count)])


def universal(domain, values: torch.Tensor, *, kind: str = "added", radius: float = 1.0):
    classes = len(values)
    return Perturbations(kind, domain, torch.arange(classes), values, radius, torch.zeros(classes))


def norms(these: Perturbations) -> torch.Tensor:
    unit = these.domain.extent if these.kind == "added" else torch.ones(())
    return (these.values / unit).flatten(1).norm(dim=1)
