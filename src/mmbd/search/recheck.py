"""The maximising inputs looked at once more: does the network say the same again, and alone?

A network that draws random numbers or whose answers depend on the other inputs of a batch has no
maximum margin to speak of: the search climbed on noise. What is found here is stated, and where it
is as large as the margins there is no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.search import pool
from mmbd.search.maximum_margins import MaximumMargins

ALONE = 4  # inputs that are looked at one by one
STATED = 1e-3  # of the largest statistic: beyond rounding
DROWNS = 0.1
BATCH = 64


@dataclass(frozen=True)
class Recheck:
    """The network's answers at the maximising inputs.

    Attributes:
        logits: (inputs, classes), float32.
        labels: whose maximising input each is, (inputs,).
        again: the largest difference of a margin between two calls with the same inputs.
        batch: the largest difference of a margin between an input alone and among others.
        largest: the largest statistic found by its size, what differences are measured by.
        rounding: the share of `largest` that the network's precision explains.
    """

    logits: Tensor
    labels: Tensor
    again: float = 0.0
    batch: float = 0.0
    largest: float = 0.0
    rounding: float = STATED

    @property
    def drowned(self) -> str | None:
        """Why there is no verdict, if the differences are as large as margins."""
        worst = max(self.again, self.batch)
        if worst <= DROWNS * self.largest:
            return None
        return (
            f"{self._words()}, by up to {worst:.3g} logits, as much as margins differ "
            f"(the largest is {self.largest:.3g}): switch off what is random, and normalise by "
            "running averages, before the network is scanned"
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Differences beyond rounding, as sentences for the report."""
        worst = max(self.again, self.batch)
        if worst <= self.rounding * self.largest:
            return ()
        return (f"{self._words().capitalize()}, by up to {worst:.3g} logits.",)

    def _words(self) -> str:
        if self.again > self.rounding * self.largest:  # then the batch can tell nothing
            return "the network's answers change from call to call"
        return "the network's answers depend on the other inputs of the batch"


def recheck(classifier: Classifier, found: MaximumMargins) -> Recheck:
    """Ask the network about the maximising inputs together, again, and some alone."""
    labels = torch.tensor(sorted(found.inputs), dtype=torch.int64, device=classifier.device)
    if not len(labels):
        return Recheck(torch.empty(0, classifier.classes), labels)
    points = torch.stack([found.inputs[label] for label in labels.tolist()])
    size = min(BATCH, max(2, found.batch))
    with classifier.frozen(), torch.no_grad():
        first, second = (torch.cat([classifier(part) for part in points.split(size)]) for _ in range(2))
        few = min(ALONE, len(points))
        alone = torch.cat([classifier(point[None]) for point in points[:few]])
    margins = pool.margins(first, labels)
    again = float((pool.margins(second, labels) - margins).abs().max())
    apart = float((pool.margins(alone, labels[:few]) - margins[:few]).abs().max())
    known = found.statistics.to(margins)[labels]
    # The search saw the same inputs in another batch.
    apart = max(apart, float((known - margins).abs().nan_to_num().max()))
    largest = float(found.statistics.nan_to_num(nan=0.0).abs().max())
    rounding = max(STATED, 8 * torch.finfo(classifier.dtype).eps)
    return Recheck(first.cpu(), labels.cpu(), again, apart, largest, rounding)
