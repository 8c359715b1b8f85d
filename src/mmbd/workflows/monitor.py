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

from typing import Any

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import prepare
from mmbd.search.pool import margins
from mmbd.workflows.conformal import Calibration, Monitored, batch_of, check_rate


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
        check_rate(false_positive_rate)
        _check(original, repaired)
        clean = prepare(original, inputs, fewest=0)
        if not len(clean.inputs):
            raise ValueError("no calibration inputs were given")
        self.original, self.repaired = original, repaired
        self.false_positive_rate = false_positive_rate
        scores = lost_margin(clean.logits, logits_of(repaired, clean.inputs).to(original.device))
        self._calibrated = Calibration(scores, false_positive_rate)
        self.calibration = self._calibrated.scores
        self.threshold = self._calibrated.threshold
        self.notes = self._calibrated.notes

    def __call__(self, inputs: Any) -> Monitored:
        """Answer for a batch (n, *shape) of raw inputs; ValueError for another shape."""
        inputs = batch_of(self.original, inputs)
        logits = logits_of(self.repaired, inputs)
        scores = lost_margin(logits_of(self.original, inputs).to(logits.device), logits)
        return self._calibrated.judged(scores, logits.argmax(1))


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
