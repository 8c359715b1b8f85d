"""SIG: stripes on images of the target class, no label changed (Barni, Kallas and Tondi 2019).

The network comes to read the sinusoidal signal as a sign of the target class; at test time the same
signal, or a stronger one, takes other images there. With changed labels the signal is a classical
trigger: `sine` in the table of attacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.poison import choose, how_many, of_classes, replaced
from mmbd.nets.blocks import image_shape
from mmbd.triggers.additive import sine
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.trigger import stamp


def sig(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.3,
    count: int | None = None,
    delta: float = 20 / 255,
    test_delta: float | None = None,
    frequency: float = 6.0,
    keep: bool = False,
) -> Backdoor:
    """Put the signal on images of the target class, then train.

    Args:
        victim: trained in place, on images in [0, 1] or of 8 bits.
        sources: the classes whose test samples count for the attack success rate; none of their
            training samples is touched.
        target: the class that the poisoned images belong to.
        rate: the share of the target class that carries the signal (the paper: 0.2 to 0.4 and more).
        count: how many images carry it, instead of `rate`.
        delta: the amplitude in training, on the scale of 0 to 1 (the paper: 20/255 on traffic signs;
            BackdoorBench: 40/255; others on CIFAR-10: 30/255).
        test_delta: the amplitude at test time; by default that of training. The paper's attacker
            may take a larger one.
        frequency: periods in the width of the image (the paper: 6).
        keep: leave the clean originals in the training set.

    Raises:
        ValueError: classes out of range, no image or more images to poison than the target class
            holds, inputs that are no images, or a signal that changes nothing.
    """
    training = victim.training
    check_labels(sources, target, len(training.names))
    shape = image_shape(victim.shape)
    test_delta = delta if test_delta is None else test_delta
    signal = sine(shape, delta=delta, frequency=frequency)
    trigger = sine(shape, delta=test_delta, frequency=frequency)
    count = how_many(rate, len(of_classes(training.labels, [target])), count)
    if count < 1:
        raise ValueError(f"{count} images of the target class to poison: expected at least 1")
    chosen = choose(training.labels, [target], count, victim.seed)
    carriers, labels = stamp(signal, training.inputs[chosen]), training.labels[chosen]
    poisoned, indices = replaced(training, chosen, carriers, labels, keep=keep)
    victim.fit(poisoned)
    return everywhere(
        trigger,
        sources,
        target,
        indices,
        count=count,
        delta=delta,
        test_delta=test_delta,
        frequency=frequency,
        keep=keep,
    )
