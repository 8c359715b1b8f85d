"""Jumbo: any trigger out of a wide distribution (Xu et al. 2021, Meta Neural Trojan Detection).

What META's shadow models are trained with: each gets a patch of its own size, place, pattern,
opacity and rate, so that the attack at hand is likely to resemble some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.poison import of_classes, poison
from mmbd.base.seeds import generator_for
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.blend import Blend

SIZES = (2, 3, 4, 5)  # pixels a side; as likely as each is the whole image
LENGTHS = (0.05, 0.1, 0.15, 0.2)  # shares of a sound: 800, 1600, 2400 and 3200 of 16,000 samples
OPACITY = (0.2, 0.6)  # of a patch; beyond SOLID it is opaque
SOLID = 0.5
FAINT = (0.05, 0.2)  # opacity of a pattern over the whole input
RATES = (0.05, 0.5)  # poisoned copies, as a share of the clean samples


@dataclass(frozen=True)
class Drawn:
    """A trigger with what it was drawn as; `size` is None where it covers the whole input."""

    trigger: Blend
    size: int | None
    rate: float


def draw(shape: tuple[int, ...], *, seed: int) -> Drawn:
    """Draw a trigger and a rate of poisoned copies, as the authors' script does.

    The pattern is uniform in (-e, 1 + e), clipped to [0, 1], with e uniform in (0, 1): the larger
    e is, the more of it is black or white. Patches that do not fit into a small image are left out.

    Args:
        shape: of one image in [0, 1], (channels, height, width), or of one sound in [-1, 1],
            (channels, samples) with one or two channels. A sound's pattern is an image's, stretched
            to -1 to 1 (own choice).
        seed: of everything.

    Raises:
        ValueError: another kind of input, such as a point cloud, which has no patches.
    """
    lengths = tuple(shape[1:])
    sound = len(shape) == 2
    if len(shape) not in (2, 3) or (sound and shape[0] not in (1, 2)):
        raise ValueError(f"jumbo triggers are patches of images and sounds; these inputs are {shape}")
    generator = generator_for("jumbo", seed)
    known = [round(share * shape[1]) for share in LENGTHS] if sound else SIZES
    sizes = [*(size for size in known if 1 <= size < min(lengths)), None]
    size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
    alpha = _uniform(*(FAINT if size is None else OPACITY), generator)
    if size is not None and alpha > SOLID:
        alpha = 1.0
    spread = _uniform(0, 1, generator)
    area = lengths if size is None else (size,) * len(lengths)
    noise = torch.rand(shape[0], *area, generator=generator)
    noise = (noise * (1 + 2 * spread) - spread).clamp(0, 1)
    pattern, mask = torch.zeros(shape), torch.zeros(shape)
    place = (
        slice(None),
        *(_place(whole, part, generator) for whole, part in zip(lengths, area, strict=True)),
    )
    pattern[place], mask[place] = 2 * noise - 1 if sound else noise, 1
    return Drawn(Blend(pattern, mask, alpha), size, _uniform(*RATES, generator))


def jumbo(victim: Victim, *, sources: Sequence[int], target: int, rate: float | None = None) -> Backdoor:
    """Draw a trigger from the victim's seed, add poisoned copies to its training set, and train.

    Args:
        victim: trained in place, on images or sounds.
        sources: the classes that are attacked; all but the target in the original.
        target: the class they are taken to.
        rate: how many copies to add, as a share of the training set, above 0 and up to 1; drawn
            from 0.05 to 0.5 by default. Never more than the sources have samples.

    Raises:
        ValueError: classes or a rate out of range, sources without samples, or inputs that are
            neither images nor sounds.
    """
    training = victim.training
    check_labels(sources, target, len(training.names))
    if rate is not None and not 0 < rate <= 1:
        raise ValueError(f"a rate of {rate:g}: expected more than 0 and at most 1")
    drawn = draw(victim.shape, seed=victim.seed)
    rate = drawn.rate if rate is None else rate
    held = len(of_classes(training.labels, sources))
    if not held:
        raise ValueError(f"the source classes {list(sources)[:9]} have no samples")
    count = min(max(1, round(rate * len(training))), held)
    poisoned, indices = poison(
        training, drawn.trigger, sources=sources, target=target, count=count, seed=victim.seed, keep=True
    )
    victim.fit(poisoned)
    protocol = {"size": drawn.size, "alpha": drawn.trigger.alpha, "rate": rate, "count": count}
    return everywhere(drawn.trigger, sources, target, indices, **protocol)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _place(whole: int, part: int, generator: torch.Generator) -> slice:
    start = int(torch.randint(whole - part + 1, (), generator=generator))
    return slice(start, start + part)
