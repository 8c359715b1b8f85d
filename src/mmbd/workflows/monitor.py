"""A monitor for deployed networks: which inputs only the repair keeps from their backdoor.

A trigger drives a network to its target class by a wide margin, and a repair takes that margin
away, often even where it does not turn the answer. So the original network is kept beside the
repaired one, and an input is flagged when the class that the original gives it loses more margin
in the repaired one than clean inputs do. How much that is follows from clean inputs, by split
conformal prediction (Papadopoulos et al. 2002; Vovk et al. 2005). That the two outputs of a
bounded and an unbounded network tell triggered inputs is an idea of the authors' follow-up to
MM-BM (Wang et al., "Improved Activation Clipping", 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of, scaled
from mmbd.model.samples import prepare
from mmbd.search.pool import margins


@dataclass(frozen=True)
class Monitored:
    """What a monitor says of n inputs.

    Args:
        flagged: (n,) which are not like the clean inputs.
        p_values: (n,) the share of clean inputs that lose as much, one counted in: 1 / (calibration
            inputs + 1) to 1.
        scores: (n,) the margin that the original's class lost, in logits; infinite where an output
            is NaN.
        predictions: (n,) the repaired network's classes.
    """

    flagged: Tensor
    p_values: Tensor
    scores: Tensor
    predictions: Tensor


class Monitor:
    """Answers by the repaired network, and flags inputs on which the original one parts from it.

    At most `false_positive_rate` of clean inputs are flagged, on average over calibration sets, if
    they come from where the calibration inputs came from; with a given set of n the share varies
    by about sqrt(rate (1 - rate) / n). How many triggered inputs are flagged is not promised: that
    takes a repair which the trigger feels. Both networks run on every input.

    Args:
        original: the classifier as it was.
        repaired: what a mitigator made of it.
        inputs: (n, *shape) clean inputs, raw as the classifiers take them; no labels are needed.
            **They must not be those that the repair was learned from**, on which the two networks
            were made to agree: on others they agree less, and more alarms would be false than said.
        false_positive_rate: the share of clean inputs that may be flagged.

    Attributes:
        threshold: an input is flagged if its score lies above; infinite with too few inputs.
        calibration: (n,) the scores of the clean inputs, sorted.
        notes: what to bear in mind, in sentences.

    Raises:
        ValueError: classifiers of different domains or numbers of classes, or one and the same;
            no inputs, or such as are not the classifiers'; a rate that is not between 0 and 1.

    Example:
        >>> import mmbd
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.ReLU(),
        ...                           torch.nn.Linear(8, 3))
        >>> classifier, clean = mmbd.Classifier(net, input_shape=(1, 2, 2)), torch.rand(90, 1, 2, 2)
        >>> repaired, _ = mmbd.mitigate(classifier, clean[:30])
        >>> monitor = Monitor(classifier, repaired, clean[30:])
        >>> monitor(clean[:3]).flagged.shape
        torch.Size([3])
    """

    def __init__(
        self, original: Classifier, repaired: Classifier, inputs: Any, *, false_positive_rate: float = 0.05
    ) -> None:
        if not 0 < false_positive_rate < 1:
            raise ValueError(f"false_positive_rate must be between 0 and 1, got {false_positive_rate}")
        _check(original, repaired)
        clean = prepare(original, inputs, fewest=0)
        if not len(clean.inputs):
            raise ValueError("no calibration inputs were given")
        self.original, self.repaired = original, repaired
        self.false_positive_rate = false_positive_rate
        scores = lost_margin(clean.logits, logits_of(repaired, clean.inputs).to(original.device))
        self.calibration = scores.cpu().sort().values
        self.threshold = threshold(self.calibration, false_positive_rate)
        self.notes: tuple[str, ...] = ()
        if math.isinf(self.threshold):
            fewest = math.ceil(1 / _exact(false_positive_rate)) - 1
            self.notes = (
                f"nothing will be flagged: for a false-positive rate of {false_positive_rate:g} at "
                f"least {fewest} calibration inputs with finite scores are needed, "
                f"{int(scores.isfinite().sum())} were given",
            )

    def __call__(self, inputs: Any) -> Monitored:
        """Answer for a batch (n, *shape) of raw inputs; ValueError for another shape."""
        inputs = scaled(torch.as_tensor(inputs))
        shape = self.original.domain.shape
        if inputs.dim() == 0 or tuple(inputs.shape[1:]) != shape:
            raise ValueError(
                f"expected inputs of shape (n, {', '.join(map(str, shape))}), got {tuple(inputs.shape)}"
            )
        logits = logits_of(self.repaired, inputs)
        scores = lost_margin(logits_of(self.original, inputs).to(logits.device), logits)
        return Monitored(
            flagged=scores > self.threshold,
            p_values=p_values(self.calibration.to(scores.device), scores),
            scores=scores,
            predictions=logits.argmax(1),
        )


def lost_margin(original: Tensor, repaired: Tensor) -> Tensor:
    """How much margin the class that a network gives loses in another network.

    A loss is larger than the margin was where the other network gives another class.

    Args:
        original: (n, classes) logits.
        repaired: (n, classes) logits.

    Returns:
        (n,) differences in logits, negative for a gain; infinite where there are NaN among them.
    """
    own = original.argmax(1)
    lost = margins(original, own) - margins(repaired, own)
    return lost.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


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


def _check(original: Classifier, repaired: Classifier) -> None:
    if original.model is repaired.model:
        raise ValueError("both classifiers have the same network: nothing was repaired")
    if original.classes != repaired.classes:
        raise ValueError(
            f"the original has {original.classes} classes, the repaired one {repaired.classes}: "
            "expected two versions of one network"
        )
    if repr(original.domain) != repr(repaired.domain):
        raise ValueError(
            f"the original takes inputs in {original.domain!r}, the repaired one in "
            f"{repaired.domain!r}: expected two versions of one network"
        )
