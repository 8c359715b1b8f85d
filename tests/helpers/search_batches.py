"""What the tests of the pool share: models that turn on their caller, hills, one run."""

from __future__ import annotations

import torch

from helpers.toy_networks import peaks
from mmbd.base.seeds import generator_for
from mmbd.model.classifier import Classifier
from mmbd.search import pool
from mmbd.search.ascent import Ascent


class Armed:
    """A model that records its batches and can be told to misbehave after the probe."""

    def __init__(self, model):
        self.model, self.trap, self.batches = model, None, []

    def __call__(self, x):
        if self.trap is None:
            return self.model(x)
        self.batches.append(len(x))
        return self.trap(x)


def armed(model, trap, shape=(6,), **options):
    """A classifier of `model` that behaves as `trap` from now on, and the model's record."""
    recorder = Armed(model)
    classifier = Classifier(recorder, input_shape=shape, **options)
    recorder.trap = trap
    return classifier, recorder


def searches(classes: int, restarts: int) -> list[tuple[int, int]]:
    return [(label, restart) for label in range(classes) for restart in range(restarts)]


def run(classifier, work, ascent, start=None, batch=64, **options):
    """All finished searches by (class, restart), and the stats."""
    found = {}
    begin = start or (lambda restart: classifier.domain.sample(generator_for("test", restart)))
    with classifier.frozen():
        stats = pool.run(
            classifier,
            work,
            ascent,
            begin,
            batch=batch,
            finished=lambda search: found.__setitem__((search.label, search.restart), search),
            **options,
        )
    return found, stats


def plain(steps: int, size: float, **options) -> Ascent:
    return Ascent(**({"restarts": 1, "steps": steps, "rule": "plain", "size": size} | options))


# The last class is always the rival, so that every margin is one smooth hill.
HILLS = peaks(torch.tensor([[0.2] * 6, [0.5] * 6, [0.7] * 6]), torch.tensor([-1.0, -2.0, -3.0]))
CLIMB = plain(60, 0.1, tolerance=1e-4)
