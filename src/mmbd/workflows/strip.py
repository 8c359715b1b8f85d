"""STRIP: is this input triggered? Its class stays whatever clean input is laid over it.

Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks", ACSAC 2019. A clean
input with another one laid over it is hard to tell, and the network is unsure; a trigger that
outlives that keeps the network sure of its target class. So the score is the mean entropy of the
predictions over many such blends, and low entropy is suspicious. It needs no repaired network.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.model.forward import logits_of
from mmbd.model.samples import prepare
from mmbd.workflows.conformal import Calibration, Monitored, batch_of, check_rate

PAIRS = 200  # of an input and what is laid over it, at a time


class Strip:
    """Flags inputs whose class other inputs laid over them do not change.

    Some of the clean inputs are laid over others, and the rest says how low the entropy of clean
    inputs goes: at most `false_positive_rate` of clean inputs are flagged, on average over
    calibration sets, as with `Monitor`. The authors fit a normal distribution instead. How many
    triggered inputs are flagged is not promised: a trigger must outlive what is laid over it, so
    that faint, warped, input-aware and one-source ones pass. Every input costs as many forward passes
    as there are overlays, and one.

    Args:
        classifier: the network that is asked; left as it was.
        clean_inputs: (n, *shape) clean inputs, raw as the classifier takes them; no labels are needed.
        overlays: how many of them are laid over every input (the authors': 100), at most half of
            them. All inputs have the same ones, drawn by `seed`, so that batches change nothing.
        blend: how much of an overlay is added. As in the authors' script both inputs count in full,
            with their mean number taken off (one number for all elements): x + blend x (overlay - mean).
            Unlike there, the sum is moved back into the valid inputs.
        false_positive_rate: the share of clean inputs that may be flagged.
        seed: of the choice of overlays.

    Attributes:
        threshold: an input is flagged if its score, the negative mean entropy in bits, lies above;
            infinite with too few inputs.
        calibration: (n,) the scores of the clean inputs that are no overlays, sorted.
        notes: what to bear in mind, in sentences.

    Raises:
        ValueError: fewer than two inputs, or such as are not the classifier's; options that make no
            sense.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> strip = Strip(Classifier(net, input_shape=(1, 2, 2)), torch.rand(60, 1, 2, 2), overlays=20)
        >>> len(strip.calibration), strip(torch.rand(5, 1, 2, 2)).flagged.shape
        (40, torch.Size([5]))
    """

    def __init__(
        self,
        classifier: Classifier,
        clean_inputs: Any,
        *,
        overlays: int = 100,
        blend: float = 1.0,
        false_positive_rate: float = 0.05,
        seed: int = 0,
    ) -> None:
        check_rate(false_positive_rate)
        if overlays < 1 or not blend > 0:
            raise ValueError(f"overlays must be at least 1 and blend positive, got {overlays} and {blend}")
        clean = prepare(classifier, clean_inputs, fewest=0).inputs
        if len(clean) < 2:
            raise ValueError(f"{len(clean)} clean inputs: one is needed to lay over another, 200 are usual")
        count = min(overlays, len(clean) // 2)
        order = torch.randperm(len(clean), generator=generator_for("strip", seed)).to(clean.device)
        self.classifier = classifier
        self.false_positive_rate = false_positive_rate
        chosen = clean[order[:count]]
        self._added = blend * (chosen - chosen.mean())
        self._calibrated = Calibration(self._scores(clean[order[count:]]), false_positive_rate)
        self.calibration = self._calibrated.scores
        self.threshold = self._calibrated.threshold
        self.notes = self._calibrated.notes
        if count < overlays:
            said = (
                f"{count} inputs are laid over each, not {overlays}: that takes {2 * overlays} clean inputs"
            )
            self.notes = (said, *self.notes)

    def __call__(self, inputs: Any) -> Monitored:
        """Judge a batch (n, *shape) of raw inputs; ValueError for another shape."""
        inputs = batch_of(self.classifier, inputs).to(self._added.device)
        predictions = logits_of(self.classifier, inputs).argmax(1)
        return self._calibrated.judged(self._scores(inputs), predictions)

    def _scores(self, inputs: Tensor) -> Tensor:
        """The negative mean entropies (n,), in bits, on the classifier's device; infinite for NaN."""
        count, domain = len(self._added), self.classifier.domain
        found = [torch.empty(0, dtype=torch.float64, device=inputs.device)]
        for pairs in torch.arange(len(inputs) * count, device=inputs.device).split(PAIRS):
            if len(pairs):  # nothing has one part, too
                blends = domain.project_(inputs[pairs // count] + self._added[pairs % count])
                log_p = logits_of(self.classifier, blends).double().log_softmax(1)
                found.append((log_p.exp() * log_p).sum(1) / math.log(2))
        return torch.cat(found).view(len(inputs), count).mean(1).nan_to_num(nan=torch.inf)
