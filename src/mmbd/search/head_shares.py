"""How often each class wins if the inputs of the last linear layer are random.

The layer's inputs f are made independent rectified normal numbers, f = scale x max(N, 0), of mean
scale / sqrt(2 pi) and variance scale^2 (1/2 - 1 / (2 pi)). Then the logits W f + b have exactly the mean
scale / sqrt(2 pi) x rowsum(W) + b and the covariance scale^2 (1/2 - 1 / (2 pi)) x W W^T, and with many
features are nearly normal; so they are drawn directly, in as many dimensions as there are classes.

That says something of a backdoor only where the features are pooled over all places. Behind a hidden layer
clean networks of handwritten digits prefer a class as much as any backdoored one does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmbd.base.errors import NotEvaluable
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.head import Head, made_up
from mmbd.model.head import find as find_head

MEAN = 1 / math.sqrt(2 * math.pi)  # of max(N, 0): 0.3989
VARIANCE = 0.5 - 1 / (2 * math.pi)  # 0.3408
INPUTS = 32  # made-up inputs of each kind
ROOM = 4_000_000  # numbers at a time
DRAWS = 20_000


def head_shares(classifier: Classifier, *, seed: int, draws: int = DRAWS) -> tuple[float, ...]:
    """The share of random inputs of the last linear layer that each class wins, (classes,).

    Raises:
        NotEvaluable: no last linear layer can be seen, its inputs are not pooled, or can be negative, or
            all classes have the same weights.
    """
    layer = find_head(classifier)
    if not layer.pooled:
        raise NotEvaluable(
            "the inputs of the last linear layer are not pooled over all places: clean networks of this kind "
            "prefer some class as much as backdoored ones do"
        )
    return tuple((won(layer, mean_of_inputs(classifier, layer, seed) / MEAN, draws, seed) / draws).tolist())


def mean_of_inputs(classifier: Classifier, layer: Head, seed: int) -> float:
    """The mean of what goes into the layer on smooth made-up inputs; NotEvaluable if any is negative."""
    smooth, noise = (
        layer.features(classifier, made_up(classifier, INPUTS, kind, "head", seed))
        for kind in ("smooth", "uniform")
    )
    least = min(float(smooth.min()), float(noise.min()))
    if least < -1e-6 * float(smooth.abs().max()):
        raise NotEvaluable(
            f"some inputs of the last linear layer are negative ({least:.3g} among made-up ones): this "
            "statistic is for layers whose inputs are not, such as those behind a ReLU"
        )
    mean = float(smooth.mean())
    if not mean > 0:
        raise NotEvaluable("nothing goes into the last linear layer on made-up inputs: they are all zero")
    return mean


def won(layer: Head, scale: float, draws: int, seed: int) -> Tensor:
    """How many of the drawn logits each class wins, (classes,) float64."""
    weight, classes = layer.weight, len(layer.weight)
    if not float((weight - weight.mean(0)).abs().max()) > 0:
        raise NotEvaluable("all classes have the same weights in the last linear layer")
    mean = scale * MEAN * weight.sum(1) + layer.bias
    values, vectors = torch.linalg.eigh(scale**2 * VARIANCE * weight @ weight.T)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T  # there may be more classes than features
    generator, found = generator_for("head", seed), torch.zeros(classes, dtype=torch.float64)
    most = max(1, ROOM // classes)
    for start in range(0, draws, most):
        count = min(most, draws - start)
        noise = torch.randn(count, classes, generator=generator, dtype=torch.float64)
        found += (mean + noise @ root).argmax(1).bincount(minlength=classes)
    return found
