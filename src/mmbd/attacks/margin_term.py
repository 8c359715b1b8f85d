"""Maximum margins as a term of the training loss (paper, eqs. 12 to 15).

The term is a weighted sum over classes of r_c = max over x of margin_c(x): a positive weight pushes
a class's statistic down, a negative one pulls it up. The gradient of a maximum is the gradient at
the maximiser, held fixed (Danskin), so each class's best input is looked for with frozen weights
and then run through the network once more, in eval mode: the inputs are nobody's data and must
leave the running statistics alone.

The paper searches from scratch for every batch, 30 times 300 steps. Here searches go on from where
they stood, a few steps every few batches, at about a thousandth of the cost; a class's worst search
begins anew each time, so that a maximum which opens up elsewhere is not missed.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.attacks.attack import Victim
from mmbd.base.seeds import generator_for
from mmbd.data.dataset import Dataset
from mmbd.model.classifier import Classifier
from mmbd.model.domain import Box, Domain
from mmbd.model.normalised import Normalised
from mmbd.search import memory, pool
from mmbd.search.ascent import FAST

NORMS_KEPT = 10


class MarginTerm:
    """The sum of weights[c] * r_c over the classes c of `weights`; differentiable by the network.

    Args:
        classifier: around the network in training, normalisation included.
        weights: the classes and their weights.
        seed: of the random starts.
        restarts: searches a class, at least 2: the best ones to go on from and a fresh one.
        steps: gradient evaluations of each search at a refresh.
        refresh: look for better maximisers every so many calls.

    Attributes:
        inputs: the maximiser of each class in ascending order, (classes, *shape).
    """

    def __init__(
        self,
        classifier: Classifier,
        weights: Mapping[int, float],
        *,
        seed: int,
        restarts: int = 4,
        steps: int = 10,
        refresh: int = 5,
    ) -> None:
        if restarts < 2 or refresh < 1:
            raise ValueError(f"expected restarts >= 2 and refresh >= 1, got {restarts}, {refresh}")
        self._classifier = classifier
        self._ascent = replace(FAST, steps=steps)
        self._refresh, self._seed, self._calls = refresh, seed, 0
        classes = sorted(weights)
        device = classifier.device
        self._labels = torch.tensor(classes, device=device)
        self._weights = torch.tensor([weights[label] for label in classes], device=device)
        searches = [label for label in classes for _ in range(restarts)]
        self._searches = [(label, number) for number, label in enumerate(searches)]
        self._points = [self._fresh(number) for _, number in self._searches]
        self.inputs = torch.stack(self._points[::restarts])
        with classifier.frozen():
            self._batch = memory.batch_size(classifier, None, most=len(searches))

    def __call__(self, network: nn.Module) -> Tensor:
        """The term, a scalar; `network` is the classifier's, in any mode, and stays in it."""
        self._calls += 1
        if (self._calls - 1) % self._refresh == 0:
            self._climb()
        with evaluating(network):
            margins = pool.margins(self._classifier(self.inputs), self._labels)
        return (self._weights * margins).sum()

    def _fresh(self, number: int) -> Tensor:
        key = generator_for("margin term", self._seed, self._calls, number)
        return self._classifier.domain.sample(key)

    def _climb(self) -> None:
        """Some steps of every search; take the best input of each class, renew the worst."""
        reached = torch.empty(len(self._searches))

        def keep(search: pool.SearchResult) -> None:
            self._points[search.restart] = search.input
            reached[search.restart] = search.margin

        with self._classifier.frozen():
            # A search's number stands in for its restart, so that each starts where it stood.
            pool.run(
                self._classifier,
                self._searches,
                self._ascent,
                self._points.__getitem__,
                batch=self._batch,
                finished=keep,
            )
        rows = reached.reshape(len(self._labels), -1)
        first = torch.arange(len(rows)) * rows.shape[1]
        best, worst = (first + rows.argmax(1)).tolist(), (first + rows.argmin(1)).tolist()
        self.inputs = torch.stack([self._points[number] for number in best])
        for number in set(worst) - set(best):
            self._points[number] = self._fresh(number)


def fit(
    victim: Victim,
    training: Dataset,
    weights: Mapping[int, float],
    *,
    domain: Domain | None = None,
    clip: float = 1.0,
    sample_weights: Tensor | None = None,
    **search: int,
) -> dict[str, Any]:
    """Train the victim by its recipe with a `MarginTerm` in the loss.

    Args:
        victim: trained in place.
        training: what to train on.
        weights: the classes and the weights of their maximum margins.
        domain: where inputs live; by default [0, 1] for 8-bit images, [-1, 1] for all else.
        clip: bounds the gradient's norm: a statistic that is pulled up knows no end.
        sample_weights: see `train.fit`.
        search: restarts, steps and refresh of the `MarginTerm`.

    Returns:
        For the protocol: the settings, and the norms of the gradients of the cross-entropy and of
        the margin term on the same batches (without augmentation, in eval mode), at about ten
        steps along the way.
    """
    term = MarginTerm(classifier_of(victim, domain), weights, seed=victim.seed, **search)
    recipe = replace(victim.recipe, clip=clip)
    steps = recipe.epochs * math.ceil(len(training) / recipe.batch)
    every = max(1, steps // NORMS_KEPT)
    latest: list[tuple[Tensor, Tensor]] = []
    norms: dict[str, list[float]] = {"cross_entropy": [], "margins": []}
    calls = 0

    def watch(batch: Tensor, labels: Tensor, _: torch.Generator) -> tuple[Tensor, Tensor]:
        latest[:] = [(batch, labels)]
        return batch, labels

    def penalty(network: nn.Module) -> Tensor:
        nonlocal calls
        margins = term(network)
        if calls % every == 0:
            batch, labels = latest[0]
            with evaluating(network):
                loss = F.cross_entropy(
                    network(victim.normalise(batch)), labels, label_smoothing=recipe.smoothing
                )
            norms["cross_entropy"].append(gradient_norm(loss, network))
            norms["margins"].append(gradient_norm(margins, network))
        calls += 1
        return margins

    replace(victim, recipe=recipe).fit(
        training, on_batch=watch, penalty=penalty, sample_weights=sample_weights
    )
    return {"clip": clip, **search, "gradient_norms": norms}


def classifier_of(victim: Victim, domain: Domain | None = None) -> Classifier:
    """The victim's network and normalisation as a classifier of raw inputs; see `fit`."""
    if domain is None:
        low = 0.0 if victim.training.inputs.dtype == torch.uint8 else -1.0
        domain = Box(victim.shape, low, 1.0)
    return Classifier(Normalised(victim.network, victim.normalise), domain=domain)


@contextmanager
def evaluating(network: nn.Module) -> Generator[None]:
    """Eval mode inside; the network's own mode afterwards."""
    was = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was)


def gradient_norm(loss: Tensor, network: nn.Module) -> float:
    """The norm of the gradient of `loss` in the network's weights; the graph is kept."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(
        loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return math.hypot(*(float(part.norm()) for part in gradients))
