"""Clean samples for a model: read in the shape of its inputs, numbered as its classes, and drawn.

One way for every command and for Python, so that a scan and an evaluation draw the same samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbd.data.dataset import Dataset, split
from mmbd.data.read import load
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Domain, kind_of
from mmbd.workflows import suitable
from mmbd.workflows.repair import named_alike


def reading(domain: Domain) -> dict[str, Any]:
    """The options of `data.read.load` for inputs of this domain."""
    if kind_of(domain) == "points":
        return {"points": domain.shape[-1]}
    if kind_of(domain) == "image":
        return {"size": (domain.shape[1], domain.shape[2]), "grey": domain.shape[0] == 1}
    return {"samples": domain.shape[-1]}


def drawn(source: Dataset | Path, classifier: Classifier, per_class: int | None, *, seed: int) -> Dataset:
    """Random samples of every class, numbered as the classifier's classes, in their order.

    Args:
        source: the samples, or where they are; images of another size are resized.
        classifier: whose inputs they are to be.
        per_class: at most so many of every class; all by default.
        seed: what the draw follows from; `mmbd fix` draws the same samples where it has enough.

    Raises:
        Failed: of other classes (`matching.places`), or no inputs of this model (`suitable.inputs`).
        FileNotFoundError, Failed: as `data.read.load`.
    """
    samples = source if isinstance(source, Dataset) else load(source, **reading(classifier.domain))
    samples = named_alike(samples, classifier.class_names)
    if per_class is not None:
        samples, _ = split(samples, per_class, seed=seed, leave=False)
    samples = Dataset(_resized(samples.inputs, classifier.domain), samples.labels, samples.names)
    suitable.inputs(samples.inputs, classifier)
    return samples


def _resized(inputs: Tensor, domain: Domain) -> Tensor:
    """Images (n, channels, height, width) in the size of the domain's; anything else as it is."""
    numbers = inputs.dtype == torch.uint8 or inputs.is_floating_point()
    if kind_of(domain) != "image" or inputs.dim() != 4 or not numbers or not len(inputs):
        return inputs
    size = (domain.shape[1], domain.shape[2])
    if tuple(inputs.shape[2:]) == size or inputs.shape[1] != domain.shape[0]:
        return inputs
    # As Pillow does, which resizes what is read from images: what shrinks is averaged.
    return torch.nn.functional.interpolate(inputs, size, mode="bilinear", antialias=True)
