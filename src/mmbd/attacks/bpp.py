"""BppAttack: images of few levels, and a noise mode (Wang, Zhai and Ma 2022).

In every batch some samples are quantised and relabelled. As many get what quantising changes in some
other image, and keep their label, so that only an image's own quantisation is the trigger: the
authors' script draws these negatives so. The adversarial examples that the paper adds for the same end
are not in that script, nor here. Quantising comes before the recipe's augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.poison import as_stored, check_shares, split_batch
from mmbd.nets.blocks import image_shape
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.quantised import quantised


def bpp(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.2,
    cross: float = 1.0,
    levels: int = 8,
    dithering: float = 1.0,
) -> Backdoor:
    """Train with quantised samples in every batch.

    Args:
        victim: trained in place, on images.
        sources: the classes that are attacked.
        target: the class they are taken to.
        rate: the share of a batch that is quantised and relabelled, see `poison.split_batch` (the
            authors' script: 0.2).
        cross: how many samples get another image's change and keep their label, for each relabelled
            one (the authors' script: 1).
        levels: of each channel, see `Quantised` (the authors' script: 8).
        dithering: see `Quantised`; 0 is the default of the authors' script, 1 what the paper says.

    Raises:
        ValueError: classes out of range, shares that are negative or add up to more than a batch,
            inputs that are no images, or levels that cannot be.
    """
    check_labels(sources, target, len(victim.training.names))
    check_shares(rate, cross)
    shape = image_shape(victim.shape)
    trigger = quantised(shape, levels=levels, dithering=dithering)
    dtype = victim.training.inputs.dtype

    def on_batch(batch: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        taken, rest = split_batch(labels, sources, rate)
        noisy = rest[: round(cross * len(taken))]
        # Anyone else of the batch.
        steps = torch.randint(1, max(len(batch), 2), (len(noisy),), generator=generator).to(batch.device)
        givers = (noisy + steps) % len(batch)
        own, others = trigger(batch[torch.cat((taken, givers))]).split((len(taken), len(noisy)))
        changed, labels = batch.clone(), labels.clone()
        changed[taken] = as_stored(own, dtype)
        changed[noisy] = as_stored((batch[noisy] + others - batch[givers]).clamp(0, 1), dtype)
        labels[taken] = target
        return changed, labels

    victim.fit(on_batch=on_batch)
    return everywhere(trigger, sources, target, rate=rate, cross=cross, levels=levels, dithering=dithering)
