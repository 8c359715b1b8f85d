"""Maximum-margin activation clipping: bounds that also limit the margins of synthetic inputs.

The follow-up of the paper's authors to MM-BM (Wang et al. 2023, MMAC). Inputs that maximise the
margin of each class stand for whatever trigger a backdoor has; the bounds are lowered until such
inputs no longer reach large margins, while clean samples keep their logits.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.learned_bounds import Curves, Layers, LearnedBounds
from mmbd.mitigators.mitigator import Mitigation, Record, counted, settings_of
from mmbd.model.bounded import limiting
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples
from mmbd.search import pool
from mmbd.search.ascent import FAST


def margin_clipping(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: Layers = "all",
    initial: float = 1.0,
    weight: float = 0.002,
    growth: float = 1.2,
    accuracy: float = 0.95,
    lr: float = 0.1,
    epochs: int = 300,
    batch: int = 200,
    maximised: int = 50,
    steps: int = 20,
    again: int = 100,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Adam on (g_bounded - g)^2 + c sum of the bounded margins of maximum-margin inputs.

    Numbers are those of the authors' program, but for the search of the inputs, which is ours and
    takes a fifteenth of the steps. No bound falls below zero.

    Args:
        classifier: what to repair.
        samples: clean samples; only those that the classifier gets right are used.
        layers: which activations: "all", "paper" (three near the input), or names.
        initial: where every bound starts, in absolute terms.
        weight: c, changed by `growth` every 10 epochs from the 30th on.
        growth: what c is multiplied with where `accuracy` of the answers is kept, else divided by.
        accuracy: the share of rightly classified samples to keep.
        lr: of Adam.
        epochs: how often to go through the samples.
        batch: samples a step.
        maximised: maximum-margin inputs a class.
        steps: gradient evaluations each of them takes.
        again: they are searched for anew, on the bounded network, after so many epochs.
        seed: of the order of the samples and the random starts.
        progress: called after every epoch.

    Raises:
        NotMitigated: no activations that could be bounded.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    learned = LearnedBounds.on(classifier, samples, layers, None, initial)
    chosen = samples.correct.nonzero().flatten()
    optimizer = torch.optim.Adam(learned.bounds.values(), lr=lr)
    generator, curves = generator_for("mmac", seed), Curves()
    tell = counted(progress, "margin-clipping", epochs, unit="epochs")
    with classifier.frozen():
        inputs, labels = _maximised(classifier, maximised, steps, seed)
        for epoch in range(epochs):
            if epoch and epoch % again == 0:
                inputs, labels = _maximised(learned.repaired(), maximised, steps, seed)
            totals: list[Tensor] = []
            for order in torch.randperm(len(chosen), generator=generator).split(batch):
                indices = chosen[order.to(chosen.device)]
                logits = learned.logits(indices)
                drawn = torch.randint(len(inputs), (batch,), generator=generator).to(inputs.device)
                with limiting(learned.limits()):
                    margin = pool.margins(classifier(inputs[drawn]), labels[drawn]).sum()
                loss = (logits - samples.logits[indices]).square().mean() + weight * margin
                totals.append(margin.detach() / batch)
                learned.descend(optimizer, loss)
            with torch.no_grad():
                kept = samples.kept(learned.logits())
            curves.add(kept=kept, margin=torch.stack(totals).mean(), weight=weight)
            if epoch >= 30 and epoch % 10 == 0:
                weight = weight * growth if kept >= accuracy else weight / growth
            tell()
    record = Record("margin-clipping", True, settings=settings, curves=curves.lists)
    return learned.finish(learned.snapshot(), record, started)


def _maximised(classifier: Classifier, images: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Maximum-margin inputs, `images` of each class, (n, *shape), and their classes (n,)."""
    found: list[pool.SearchResult] = []
    pool.run(
        classifier,
        [(label, restart) for label in range(classifier.classes) for restart in range(images)],
        replace(FAST, restarts=images, steps=steps),
        lambda restart: classifier.domain.sample(generator_for("mmac", seed, restart)),
        batch=100,
        finished=found.append,
    )
    labels = torch.tensor([search.label for search in found])
    return torch.stack([search.input for search in found]), labels.to(found[0].input.device)
