"""Clean-label, or label-consistent: no label is changed (Turner, Tsipras and Madry 2019).

Some images of the target class are perturbed against a surrogate until they no longer look like
their class to a network, then get the trigger: a network trained on them finds the trigger the
easiest thing to learn. MM-BD paper, section 6.3; it states neither the perturbation nor the
trigger, which are those of the original and of BackdoorBench here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.networks import surrogate as train_surrogate
from mmbd.attacks.poison import choose, how_many, of_classes, replaced
from mmbd.model.forward import device_of, scaled
from mmbd.nets.blocks import image_shape
from mmbd.triggers.additive import Additive
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.patch import Patch
from mmbd.triggers.trigger import stamp

# White and black, in the lower right corner.
CORNER = ((-1, -1, 1), (-1, 1, -1), (1, -1, 1))


def corners(shape: tuple[int, ...], *, amplitude: float = 1.0, all_corners: bool = True) -> Patch | Additive:
    """3x3 squares of black and white in all four corners, mirrored, or in the lower right alone.

    At `amplitude` 1 they overwrite; below, that much is added to or taken from the image.

    Raises:
        ValueError: an amplitude outside 0 to 1, or an image too small for the squares.
    """
    channels, height, width = image_shape(tuple(shape))
    if not 0 < amplitude <= 1:
        raise ValueError(f"the amplitude must lie in 0 to 1 and above 0, got {amplitude:g}")
    if min(height, width) < (6 if all_corners else 3):
        raise ValueError(f"the corner trigger does not fit into an image of {tuple(shape)}")
    signs = torch.zeros(height, width)
    signs[-3:, -3:] = torch.tensor(CORNER, dtype=torch.float32)
    if all_corners:
        for mirrored in ((0,), (1,), (0, 1)):
            signs = torch.where(signs == 0, signs.flip(mirrored), signs)
    signs = signs.expand(channels, -1, -1).clone()
    if amplitude < 1:
        return Additive(amplitude * signs)
    return Patch((signs > 0).float(), (signs != 0).float())


def clean_label(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.25,
    count: int | None = None,
    eps: float = 16 / 255,
    step: float = 1.5 / 255,
    steps: int = 100,
    amplitude: float = 1.0,
    all_corners: bool = True,
    surrogate: nn.Module | None = None,
    keep: bool = False,
) -> Backdoor:
    """Perturb and trigger images of the target class, then train.

    Args:
        victim: trained in place, on images in [0, 1] or of 8 bits.
        sources: the classes whose test samples count for the attack success rate; none of their
            training samples is touched.
        target: the class that the poisoned images belong to.
        rate: the share of the target class that is poisoned (paper: 0.004, 0.015, 0.06, 0.25).
        count: how many images to poison, instead of `rate`.
        eps: the largest change of a pixel by the perturbation, on the scale of 0 to 1.
        step: of the projected gradient ascent on the surrogate's cross-entropy, like `eps`.
        steps: how many of them.
        amplitude: of the trigger, see `corners`.
        all_corners: the trigger in all four corners, so that shifts and flips leave some of it; the
            original has it in the lower right one.
        surrogate: a clean network in eval mode that shares the victim's normalisation; without
            it one of the victim's architecture is trained.
        keep: leave the clean originals in the training set.

    Raises:
        ValueError: classes out of range, more images to poison than the target class holds, or
            inputs that are no images.
    """
    training = victim.training
    check_labels(sources, target, len(training.names))
    trigger = corners(victim.shape, amplitude=amplitude, all_corners=all_corners)
    count = how_many(rate, len(of_classes(training.labels, [target])), count)
    chosen = choose(training.labels, [target], count, victim.seed)
    surrogate = train_surrogate(victim) if surrogate is None else surrogate
    labels = training.labels[chosen]
    perturbed = perturb(
        surrogate,
        scaled(training.inputs[chosen]),
        labels,
        eps=eps,
        step=step,
        steps=steps,
        normalise=victim.normalise,
    )
    if training.inputs.dtype == torch.uint8:
        perturbed = (perturbed * 255).round().to(torch.uint8)
    poisoned, indices = replaced(training, chosen, stamp(trigger, perturbed), labels, keep=keep)
    victim.fit(poisoned)
    return everywhere(
        trigger,
        sources,
        target,
        indices,
        count=count,
        eps=eps,
        step=step,
        steps=steps,
        amplitude=amplitude,
        all_corners=all_corners,
        keep=keep,
    )


def perturb(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    normalise: Callable[[Tensor], Tensor] = lambda x: x,
    batch: int = 250,
) -> Tensor:
    """Images in [0, 1] changed by at most `eps` a pixel so that they look unlike their labels.

    Projected gradient ascent on the cross-entropy by signed steps, from the image itself (Madry et
    al. 2018). `network` is in eval mode and left as it is.
    """
    device = device_of(network)
    parts: list[Tensor] = []
    for start, wanted in zip(images.split(batch), labels.split(batch), strict=True):
        start, wanted = start.to(device), wanted.to(device)
        x = start.clone()
        for _ in range(steps):
            x.requires_grad_()
            loss = F.cross_entropy(network(normalise(x)), wanted, reduction="sum")
            (slope,) = torch.autograd.grad(loss, x)
            x = x.detach() + step * slope.sign()
            x = start + (x - start).clamp(-eps, eps)
            x = x.clamp(0, 1)
        parts.append(x.detach().cpu())
    return torch.cat(parts) if parts else images
