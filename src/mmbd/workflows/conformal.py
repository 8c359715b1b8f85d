"""Which inputs are not like clean ones: split conformal prediction from the scores of clean inputs.

A new input is flagged where its score lies above a threshold that clean inputs exceed at the stated
rate at most (Papadopoulos et al. 2002; Vovk et al. 2005): exactly so, on average over calibration
sets, for inputs that come from where the calibration inputs came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.forward import scaled


@dataclass(frozen=True)
class Monitored:
    """What a test of single inputs says of n of them.

    Args:
        flagged: (n,) which are not like the clean inputs.
        p_values: (n,) the share of clean inputs that score as high, one counted in: 1 / (calibration
            inputs + 1) to 1.
        scores: (n,) the higher, the more suspicious; infinite where an output is NaN.
        predictions: (n,) the network's classes; the repaired one's where there is one.
    """

    flagged: Tensor
    p_values: Tensor
    scores: Tensor
    predictions: Tensor


class Calibration:
    """Tells scores that clean inputs seldom reach.

    Args:
        scores: (n,) of clean inputs, the higher the more suspicious.
        false_positive_rate: the share of clean inputs that may be flagged, see `check_rate`.

    Attributes:
        scores: (n,) sorted, on the CPU.
        threshold: what a score must lie above to be flagged; infinite with too few clean inputs.
        notes: what to bear in mind, in sentences.
    """

    def __init__(self, scores: Tensor, false_positive_rate: float) -> None:
        self.scores = scores.cpu().sort().values
        self.threshold = threshold(self.scores, false_positive_rate)
        self.notes: tuple[str, ...] = ()
        if math.isinf(self.threshold):
            fewest = math.ceil(1 / _exact(false_positive_rate)) - 1
            self.notes = (
                f"nothing will be flagged: for a false-positive rate of {false_positive_rate:g} at "
                f"least {fewest} calibration inputs with finite scores are needed, "
                f"{int(scores.isfinite().sum())} were given",
            )

    def judged(self, scores: Tensor, predictions: Tensor) -> Monitored:
        """What is said of inputs with these scores (n,) and classes (n,)."""
        return Monitored(
            flagged=scores > self.threshold,
            p_values=p_values(self.scores.to(scores.device), scores),
            scores=scores,
            predictions=predictions,
        )


def check_rate(false_positive_rate: float) -> None:
    """ValueError unless this is a share of clean inputs between 0 and 1."""
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must be between 0 and 1, got {false_positive_rate}")


def batch_of(classifier: Classifier, inputs: Any) -> Tensor:
    """Raw inputs (n, *shape) as float32; ValueError for another shape."""
    inputs = scaled(torch.as_tensor(inputs))
    shape = classifier.domain.shape
    if inputs.dim() == 0 or tuple(inputs.shape[1:]) != shape:
        raise ValueError(
            f"expected inputs of shape (n, {', '.join(map(str, shape))}), got {tuple(inputs.shape)}"
        )
    return inputs


def threshold(scores: Tensor, rate: float) -> float:
    """What at most a share `rate` of scores lies above that are exchangeable with `scores`.

    The ceil((n + 1) (1 - rate))-th smallest of the n; infinite if n is smaller than that.
    """
    rank = math.ceil((len(scores) + 1) * (1 - _exact(rate)))
    return math.inf if rank > len(scores) else float(scores.sort().values[rank - 1])


def p_values(calibration: Tensor, scores: Tensor) -> Tensor:
    """(1 + how many of the sorted `calibration` (n,) are as large) / (n + 1), for each score."""
    as_large = len(calibration) - torch.searchsorted(calibration, scores.contiguous())
    return (1 + as_large).double() / (len(calibration) + 1)


def _exact(rate: float) -> Fraction:
    """The decimal number that was meant: 0.29 * 100 is 28.999... as a float."""
    return Fraction(repr(float(rate)))
