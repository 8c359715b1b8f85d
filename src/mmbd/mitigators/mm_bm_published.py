"""MM-BM as published: the lowest bounds that keep the classifier's answers (section 5.3).

    min over Z of  1/(|D| K) sum (g_bounded - g)^2 + lambda sum_l |z_l|    (eq. 11)
    subject to an accuracy of at least pi on D.

`paper` is Algorithm 1; `script` is what the authors' program does. Both bound three activations
near the input, and change no weight.
"""

from __future__ import annotations

import time

import torch

from mmbd.base.errors import NotMitigated
from mmbd.base.progress import ProgressCallback
from mmbd.base.seeds import generator_for
from mmbd.mitigators.learned_bounds import Curves, Layers, LearnedBounds
from mmbd.mitigators.mitigator import Mitigation, Record, counted, settings_of
from mmbd.model.classifier import Classifier
from mmbd.model.samples import Samples


def paper(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: Layers = "paper",
    accuracy: float = 0.95,
    initial: float = 1.5,
    weight: float = 0.1,
    growth: float = 1.2,
    step: float = 0.1,
    iterations: int = 200,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """Algorithm 1: gradient descent on eq. (11), its weight tuned to the accuracy constraint.

    Mended are its line 7, which compares the norm of the bounds with the best so far, and the
    constraint, which asks for `accuracy` of the samples that the classifier got right. The best
    feasible bounds are returned, and no bound falls below zero.

    Args:
        classifier: what to repair.
        samples: clean ones; the paper takes 20 a class.
        layers: which activations: "paper", "all", or names.
        accuracy: pi, the share of rightly classified samples to keep.
        initial: Z(0), in units of the highest activation of each channel on the samples. The paper
            says "large (e.g. 100)"; from there most iterations go by before a bound bites.
        weight: lambda(0).
        growth: alpha, what lambda is multiplied with when the constraint holds, or divided by.
        step: delta, in units of the mean initial bound of each activation.
        iterations: tau_max.
        seed: nothing is random here.
        progress: called after every iteration.

    Raises:
        NotMitigated: no activations, or the constraint never held.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    learned = LearnedBounds.on(classifier, samples, layers, initial)
    rates = {index: step * z.mean().item() for index, z in learned.bounds.items()}
    best, lowest, curves = None, float("inf"), Curves()
    tell = counted(progress, "mm-bm-paper", iterations, unit="iterations")
    with classifier.frozen():
        logits = learned.logits()
        for _ in range(iterations):
            norm = learned.norm()
            loss = (logits - samples.logits).square().mean() + weight * norm
            gradients = torch.autograd.grad(loss, list(learned.bounds.values()))
            with torch.no_grad():
                for (index, z), gradient in zip(learned.bounds.items(), gradients, strict=True):
                    z.sub_(rates[index] * gradient).clamp_(min=0)
            logits = learned.logits()
            kept, norm = samples.kept(logits.detach()), learned.norm().item()
            if kept >= accuracy:
                weight *= growth
                if norm < lowest:
                    best, lowest = learned.snapshot(), norm
            else:
                weight /= growth
            curves.add(kept=kept, norm=norm, weight=weight)
            tell()
    if best is None:
        raise NotMitigated(
            f"no bounds kept {accuracy:.0%} of the right answers: ask for less, or give more samples"
        )
    record = Record("mm-bm-paper", True, settings=settings, curves=curves.lists)
    return learned.finish(best, record, started)


def script(
    classifier: Classifier,
    samples: Samples,
    *,
    layers: Layers = "paper",
    initial: float = 8.0,
    weight: float = 0.5,
    growth: float = 1.2,
    lr: float = 0.1,
    epochs: int = 50,
    batch: int = 200,
    accuracy: float = 0.95,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Mitigation:
    """What the authors' program does, which differs from Algorithm 1 in nearly everything.

    Adam on the bounds, which start at 8 in absolute terms; only samples that the classifier gets
    right; three updates of the weight, by the accuracy averaged over an epoch while the bounds
    move; and the last bounds, feasible or not, are returned. Unlike there, no bound falls below
    zero. The authors took the first 50 test images of every class.

    Args:
        classifier: what to repair.
        samples: clean ones.
        layers: which activations: "paper", "all", or names.
        initial: where every bound starts.
        weight: lambda, called c there.
        growth: alpha, called a there.
        lr: of Adam.
        epochs: how often to go through the samples.
        batch: samples a step.
        accuracy: what the epochs 20, 30 and 40 are compared with.
        seed: of the order of the samples.
        progress: called after every epoch.

    Raises:
        NotMitigated: no activations.
    """
    settings = settings_of(locals())
    started = time.perf_counter()
    learned = LearnedBounds.on(classifier, samples, layers, None, initial)
    chosen = samples.correct.nonzero().flatten()
    optimizer = torch.optim.Adam(learned.bounds.values(), lr=lr)
    generator, curves = generator_for("mm-bm-script", seed), Curves()
    tell = counted(progress, "mm-bm-script", epochs, unit="epochs")
    with classifier.frozen():
        for epoch in range(epochs):
            right = 0
            for order in torch.randperm(len(chosen), generator=generator).split(batch):
                indices = chosen[order.to(chosen.device)]
                logits = learned.logits(indices)
                loss = (logits - samples.logits[indices]).square().mean() + weight * learned.norm()
                learned.descend(optimizer, loss)
                right += int((logits.argmax(1) == samples.labels[indices]).sum())
            kept = right / len(chosen)
            curves.add(kept=kept, norm=learned.norm().item(), weight=weight)
            if epoch in (20, 30, 40):
                weight = weight * growth if kept >= accuracy else weight / growth
            tell()
    record = Record("mm-bm-script", True, settings=settings, curves=curves.lists)
    return learned.finish(learned.snapshot(), record, started)
