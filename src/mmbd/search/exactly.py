"""What a guide of another precision has found, as the network itself sees it (`search.precision`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mmbd.model.classifier import Classifier
from mmbd.search import pool
from mmbd.search.ascent import Ascent
from mmbd.search.memory import BatchSize
from mmbd.search.precision import trusted


class Exactly:
    """Searches that a guide has ended, told on with the network's own margins, some at a time.

    Args:
        classifier: the network itself, frozen by the caller.
        batch: the most inputs at a time.
        told: called with every search.
    """

    def __init__(self, classifier: Classifier, batch: int, told: Callable[[pool.SearchResult], None]) -> None:
        self.classifier, self.batch, self.told = classifier, BatchSize(batch), told
        self.waiting: list[pool.SearchResult] = []
        self.exact: list[Tensor] = []
        self.guessed: list[float] = []

    def add(self, search: pool.SearchResult) -> None:
        """A search has ended."""
        self.waiting.append(search)
        if len(self.waiting) >= self.batch.size:
            self._tell()

    def end(self) -> None:
        """All searches have ended; Astray if the guide saw other margins than there are."""
        self._tell()
        trusted(torch.cat(self.exact), torch.tensor(self.guessed))

    def _tell(self) -> None:
        if not self.waiting:
            return
        inputs = torch.stack([search.input for search in self.waiting])
        labels = torch.tensor([search.label for search in self.waiting], device=self.classifier.device)

        def margins() -> Tensor:
            pairs = zip(inputs.split(self.batch.size), labels.split(self.batch.size), strict=True)
            with torch.no_grad():
                return torch.cat([pool.margins(self.classifier(part), some) for part, some in pairs]).cpu()

        found = self.batch.run(margins)
        self.exact.append(found)
        self.guessed += [search.margin for search in self.waiting]
        for search, margin in zip(self.waiting, found.tolist(), strict=True):
            self.told(replace(search, margin=margin))
        self.waiting = []


def unhurried(ascent: Ascent) -> Ascent:
    """The same ascent without an early end: margins of few digits stand still though the ascent does not."""
    return replace(ascent, patience=ascent.steps)
