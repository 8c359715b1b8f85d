"""Input-aware dynamic attack: every image gets a trigger of its own (Nguyen and Tran 2020).

One network paints a pattern for an image, another the mask it goes under. First the mask network
is trained to make small masks that differ from image to image; then the pattern network is trained
jointly with the victim. In cross-trigger mode an image with another image's trigger keeps its
label, so that a trigger works for its own image alone. MM-BD paper, section 6.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbd.attacks.attack import Victim, check_labels
from mmbd.attacks.networks import seeded
from mmbd.attacks.poison import as_stored, split_batch
from mmbd.base.seeds import generator_for
from mmbd.model.forward import device_of, scaled
from mmbd.nets.blocks import image_shape
from mmbd.training import loop as train
from mmbd.triggers.backdoor import Backdoor, everywhere
from mmbd.triggers.generated import Generated, TriggerNetwork, paint


def input_aware(
    victim: Victim,
    *,
    sources: Sequence[int],
    target: int,
    rate: float = 0.1,
    cross: float = 1.0,
    density: float = 0.032,
    mask_epochs: int = 25,
    mask_weight: float = 100.0,
    diversity: float = 1.0,
    lr: float = 0.01,
    width: int = 32,
    depth: int = 3,
) -> Backdoor:
    """Train the mask network, then the pattern network and the victim together.

    The original's loop never cleared the pattern network's gradients; here every step does.

    Args:
        victim: trained in place, on images; by its recipe in the second stage.
        sources: the classes that are attacked.
        target: the class they are taken to.
        rate: the share of a batch that gets its own trigger, see `poison.split_batch`.
        cross: how many samples get another image's trigger, for each that gets its own.
        density: how high a mask may be everywhere before it costs anything.
        mask_epochs: of the first stage.
        mask_weight: of the mask's size against its diversity, in the first stage.
        diversity: the weight of diversity, in both stages.
        lr: of both networks (Adam); falls along a cosine.
        width: of both networks, see `TriggerNetwork`.
        depth: of both networks; images of few pixels get less.

    Raises:
        ValueError: classes out of range, shares that are negative or add up to more than a batch,
            or inputs that are no images.
    """
    check_labels(sources, target, len(victim.training.names))
    if rate < 0 or cross < 0 or rate * (1 + 2 * cross) > 1:
        raise ValueError(
            f"rate {rate:g} and cross {cross:g} take {rate * (1 + 2 * cross):.0%} of every batch; "
            "rate * (1 + 2 * cross) must lie in 0 to 1"
        )
    channels, *size = image_shape(victim.shape)
    depth = max(1, min(depth, int(math.log2(min(size))) - 1))  # two pixels are left at least
    with seeded("painters", victim.seed):
        pattern = TriggerNetwork(channels, channels, width=width, depth=depth)
        mask = TriggerNetwork(channels, 1, width=width, depth=depth, sharp=True)
    device, dtype = device_of(victim.network), victim.training.inputs.dtype
    pattern, mask = pattern.to(device), mask.to(device)
    train_mask(
        mask,
        victim.training.inputs,
        victim.recipe,
        seed=victim.seed,
        epochs=mask_epochs,
        density=density,
        weight=mask_weight,
        diversity=diversity,
        lr=lr,
    )
    steps = victim.recipe.epochs * math.ceil(len(victim.training) / victim.recipe.batch)
    optimizer, schedule = _optimizer(pattern, lr, steps)
    likeness = torch.zeros((), device=device)

    def on_batch(batch: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        nonlocal likeness
        own, rest = split_batch(labels, sources, rate)
        rest = rest[torch.randperm(len(rest), generator=generator).to(rest.device)]
        count = round(cross * len(own))
        givers, takers = rest[:count], rest[count : 2 * count]
        painted = torch.cat((own, givers))
        if not len(painted):
            likeness = torch.zeros((), device=device)
            return batch, labels
        with _precision(victim.recipe, device):
            patterns = pattern(batch[painted])
            with torch.no_grad():
                masks = mask(batch[painted])
        triggered = paint(batch[torch.cat((own, takers))], patterns, masks)
        pairs = min(len(own), len(givers))
        likeness = alikeness(
            batch[own][:pairs], batch[givers][:pairs], patterns[:pairs], patterns[len(own) :][:pairs]
        )
        labels = labels.clone()
        labels[own] = target
        batch = batch.index_put((torch.cat((own, takers)),), as_stored(triggered, dtype))
        return batch, labels

    def on_step() -> None:
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)

    victim.fit(on_batch=on_batch, on_step=on_step, penalty=lambda _: diversity * likeness)
    trigger = Generated(pattern.eval().requires_grad_(False), mask)
    return everywhere(
        trigger,
        sources,
        target,
        rate=rate,
        cross=cross,
        density=density,
        mask_epochs=mask_epochs,
        mask_weight=mask_weight,
        diversity=diversity,
        lr=lr,
        width=width,
        depth=depth,
    )


def train_mask(
    mask: TriggerNetwork,
    inputs: Tensor,
    recipe: train.Recipe,
    *,
    seed: int,
    epochs: int,
    density: float,
    weight: float,
    diversity: float,
    lr: float,
) -> None:
    """The first stage: small masks, unlike each other; frozen and in eval mode afterwards."""
    device = device_of(mask)
    generator = generator_for("masks", seed)
    optimizer, schedule = _optimizer(mask, lr, epochs * math.ceil(len(inputs) / recipe.batch))
    for _ in range(epochs):
        first, second = (torch.randperm(len(inputs), generator=generator) for _ in range(2))
        for one, other in zip(first.split(recipe.batch), second.split(recipe.batch), strict=True):
            images = scaled(inputs[one].to(device)), scaled(inputs[other].to(device))
            with _precision(recipe, device):
                masks = mask(images[0]), mask(images[1])
            excess = (masks[0] - density).relu().mean()
            loss = weight * excess + diversity * alikeness(*images, *masks)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    optimizer.zero_grad(set_to_none=True)
    mask.eval().requires_grad_(False)


def alikeness(images: Tensor, others: Tensor, made: Tensor, made_others: Tensor) -> Tensor:
    """How far images are apart over how far apart what was made of them is; the mean over pairs."""
    if not len(images):
        return images.new_zeros(())
    return (_distance(images, others) / (_distance(made, made_others) + 1e-7)).mean()


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """The root mean square difference of each pair; its gradient is 0 where they are the same."""
    return (first - second).square().flatten(1).mean(1).clamp_min(1e-12).sqrt()


def _precision(recipe: train.Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=train.in_bfloat16(recipe, device))


def _optimizer(
    network: nn.Module, lr: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.5, 0.9))
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
