"""Weights trained to keep a network's own answers while something else is trained away.

The loop that `hardening` and `latent_shift` share: a few steps of Adam from a few clean samples, the
unrepaired network as the teacher, BatchNorm's statistics as they are, and at the end the weights go back on
the straight line to where they were until the accuracy is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.base.errors import NotMitigated
from mmbd.mitigators.learned_bounds import Curves
from mmbd.mitigators.mitigator import batches, furthest, trainable
from mmbd.model.classifier import Classifier
from mmbd.model.domain import kind_of
from mmbd.model.samples import Samples

SHIFT = 2 / 32  # of an image's side

# Of a network under repair, inputs (n, *shape) and the teacher's logits: the loss on these inputs, and that
# on what is trained away.
Losses = Callable[[Classifier, Tensor, Tensor], tuple[Tensor, Tensor]]


def retrained(
    classifier: Classifier,
    network: nn.Module,
    samples: Samples,
    losses: Losses,
    *,
    teacher: Classifier,
    accuracy: float,
    lr: float,
    steps: int,
    batch: int,
    augment: bool,
    generator: torch.Generator,
    tell: Callable[[], None],
    tuned: Callable[[Sequence[nn.Parameter]], Sequence[nn.Parameter]] = lambda weights: weights,
    aside: Samples | None = None,
) -> tuple[Classifier, Curves, float]:
    """Train a copy of a classifier's network in place.

    Args:
        classifier: what the network is a copy of, frozen by the caller.
        network: in eval mode, before and after.
        samples: clean ones, with the answers of `teacher`.
        losses: see `Losses`.
        teacher: frozen by the caller.
        accuracy: the share of the accuracy on the samples to keep.
        lr: of Adam; falls to zero along a cosine.
        steps: of the optimiser.
        batch: samples a step.
        augment: mirror and shift images at random.
        generator: of the order of the samples, and of how images are moved.
        tell: called after every step.
        tuned: of all weights, those that change.
        aside: other clean samples, on which the accuracy has to be kept as well, but for one of them.

    Returns:
        The classifier with the trained network, the curves "clean" and "fooled", and how much of the way to
        the trained weights was gone, above 0 and up to 1.

    Raises:
        NotMitigated: no weights, or no others kept the accuracy.
    """
    repaired, curves = classifier.around(network), Curves()
    image = augment and kind_of(classifier.domain) == "image"
    with trainable(network) as every:
        weights = list(tuned(every))
        original = [weight.detach().clone() for weight in weights]
        optimizer = torch.optim.Adam(weights, lr=lr)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for indices in batches(len(samples.labels), batch, steps, generator):
            inputs = samples.inputs[indices]
            if image:
                inputs = moved(inputs, generator)
            with torch.no_grad():
                wanted = teacher(inputs)
            clean, missed = losses(repaired, inputs, wanted)
            optimizer.zero_grad()
            (clean + missed).backward()
            optimizer.step()
            scheduler.step()
            curves.add(clean=clean, fooled=missed)
            tell()
    trained = [weight.detach().clone() for weight in weights]

    def went(extent: float) -> None:
        for weight, first, last in zip(weights, original, trained, strict=True):
            weight.copy_(torch.lerp(first, last, extent))

    def reached(extent: float) -> float:
        went(extent)
        if aside is not None and not kept(repaired, aside, accuracy):
            return 0.0 if extent else samples.accuracy(repaired(samples.inputs))
        return samples.accuracy(repaired(samples.inputs))

    with torch.no_grad(), repaired.frozen():
        extent = furthest(reached, accuracy * samples.accuracy(samples.logits))
        if not extent:
            raise NotMitigated("no weights but the original ones kept the accuracy asked for")
        went(extent)
    return repaired, curves, extent


def kept(network: Classifier, aside: Samples, accuracy: float) -> bool:
    """Whether a network keeps a share of the accuracy on samples that were set aside, but for one of them."""
    with torch.no_grad():
        now = aside.accuracy(network(aside.inputs))
    return now >= accuracy * aside.accuracy(aside.logits) - 1 / len(aside.labels) - 1e-9


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images, all mirrored or not, and shifted by up to a sixteenth of their sides."""
    if torch.rand((), generator=generator) < 0.5:
        images = images.flip(-1)
    height, width = images.shape[-2:]
    y, x = (max(1, round(SHIFT * side)) for side in (height, width))
    down = int(torch.randint(2 * y + 1, (), generator=generator))
    right = int(torch.randint(2 * x + 1, (), generator=generator))
    padded = F.pad(images, (x, x, y, y), mode="replicate")
    return padded[..., down : down + height, right : right + width]
