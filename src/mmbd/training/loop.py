"""One seeded training loop, and the accuracy of what it trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbd.model.forward import device_of, scaled
from mmbd.training.compiling import Compiled, pays

Transform = Callable[[Tensor], Tensor]
OnBatch = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
AUGMENTATIONS = ("crop", "flip", "scale", "shift")


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults suit small networks on small images.

    `augment` may hold, for images, "crop" (random shift by up to `pad` pixels) and "flip"
    (left-right); for point clouds "scale" (by 2/3 to 3/2) and "shift" (by up to 0.2), on each axis.
    The learning rate falls from `lr` to zero along a cosine unless `schedule` is "constant".
    `smoothing` is label smoothing; `clip` bounds the norm of the gradient. `precision` "bfloat16"
    runs the network's heavy operations in bfloat16 where the processor computes in it, two to
    three times as fast there; elsewhere, where it would be many times slower, in float32. The
    weights stay float32. `compile` is, on a
    GPU, "auto" (long trainings, see `compiling.pays`), "always" or "never"; a network that cannot
    be compiled trains as it is.
    """

    epochs: int = 10
    batch: int = 128
    lr: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "cosine"
    augment: tuple[str, ...] = ()
    pad: int = 4
    smoothing: float = 0.0
    clip: float | None = None
    precision: str = "float32"
    compile: str = "auto"


def fit(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    normalise: Transform = lambda x: x,
    on_batch: OnBatch | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    on_step: Callable[[], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    sample_weights: Tensor | None = None,
) -> None:
    """Train `network` in place on `inputs` (n, ...) and `labels` (n,) by cross-entropy.

    The order of the samples and the augmentation follow from `seed` alone. `normalise` is applied
    to the augmented, [0, 1]-scaled batch. The data moves once, to the device of the network's
    weights; a batch copies no more than its random numbers.

    Args:
        network: trained in place; in eval mode afterwards.
        inputs: (n, ...), see `scaled`.
        labels: (n,) int64.
        recipe: how to train.
        seed: of the order and the augmentation.
        normalise: stands between the raw inputs and the network.
        on_batch: gets every [0, 1]-scaled batch before augmentation, its labels and the random
            generator, and returns what to train on instead. What it returns may carry gradients.
        penalty: added to every batch's loss.
        on_step: called after every step of the optimiser.
        on_epoch: gets the epoch's number, from 0, and its mean loss.
        sample_weights: (n,); an epoch then draws n samples with replacement by these weights.

    Raises:
        ValueError: an unknown optimiser, schedule, augmentation, precision or way to compile.
        FloatingPointError: the loss is no longer finite.
    """
    unknown = set(recipe.augment) - set(AUGMENTATIONS)
    if unknown:
        raise ValueError(f"unknown augmentation {min(unknown)!r}; known: {', '.join(AUGMENTATIONS)}")
    device = device_of(network)
    inputs, labels = inputs.to(device), labels.to(device)  # whole: no copy a batch
    generator = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(network, recipe)
    batches = math.ceil(len(labels) / recipe.batch)
    steps = recipe.epochs * batches
    scheduler = _scheduler(optimizer, recipe, steps)
    mixed = in_bfloat16(recipe, device)
    run = Compiled(network) if pays(recipe.compile, device, steps) else network
    if mixed:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        order = _order(len(labels), sample_weights, generator).to(device)
        for indices in order.split(recipe.batch):
            if len(indices) == 1 and len(labels) > 1:
                continue  # BatchNorm cannot train on one sample
            batch, wanted = scaled(inputs[indices]), labels[indices]
            if on_batch is not None:
                batch, wanted = on_batch(batch, wanted, generator)
            batch = _augment(batch, recipe, generator)
            # In float32 never channels-last, as some ways to cut and load images leave them: on
            # processors with AVX2 alone, torch 2.13's gradients of weights then wrote beyond their
            # memory.
            layout = mixed and batch.ndim == 4
            batch = batch.contiguous(memory_format=torch.channels_last if layout else torch.contiguous_format)
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=mixed):
                logits = run(normalise(batch))
            loss = F.cross_entropy(logits.float(), wanted, label_smoothing=recipe.smoothing)
            if penalty is not None:
                loss = loss + penalty(network)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
            scheduler.step()
            if on_step is not None:
                on_step()
            total += loss.detach() * len(indices)
        total = float(total)
        if not math.isfinite(total):
            raise FloatingPointError(f"the training loss is not finite in epoch {epoch}")
        if on_epoch is not None:
            on_epoch(epoch, total / len(labels))
    network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    network.eval()


def _order(count: int, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    if weights is None:
        return torch.randperm(count, generator=generator)
    return torch.multinomial(weights, count, replacement=True, generator=generator)


def in_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Whether the recipe's heavy operations run in bfloat16: it says so, and the device can.

    Raises:
        ValueError: an unknown precision.
    """
    if recipe.precision not in ("float32", "bfloat16"):
        raise ValueError(f"unknown precision {recipe.precision!r}; known: float32, bfloat16")
    return recipe.precision == "bfloat16" and (device.type != "cpu" or _cpu_has_bfloat16())


@cache
def _cpu_has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16; one that emulates it is many times slower."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay
        )
    raise ValueError(f"unknown optimizer {recipe.optimizer!r}; known: adam, sgd")


def _scheduler(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    raise ValueError(f"unknown schedule {recipe.schedule!r}; known: cosine, constant")


def _augment(batch: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    if "flip" in recipe.augment:
        flipped = to_device(torch.rand(len(batch), generator=generator) < 0.5, batch.device)
        batch = torch.where(flipped[:, None, None, None], batch.flip(-1), batch)
    if "crop" in recipe.augment:
        height, width = batch.shape[-2:]
        padded = F.pad(batch, (recipe.pad,) * 4)
        shifts = torch.randint(0, 2 * recipe.pad + 1, (2, len(batch)), generator=generator)
        shifts = to_device(shifts, batch.device)
        rows = shifts[0, :, None] + torch.arange(height, device=batch.device)
        columns = shifts[1, :, None] + torch.arange(width, device=batch.device)
        samples = torch.arange(len(batch), device=batch.device)[:, None, None]
        batch = padded[samples, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if "scale" in recipe.augment:
        batch = batch * _uniform(batch, 2 / 3, 3 / 2, generator)
    if "shift" in recipe.augment:
        batch = batch + _uniform(batch, -0.2, 0.2, generator)
    return batch


def _uniform(batch: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """A random number for each sample and channel, broadcastable to `batch`."""
    draws = to_device(torch.rand(batch.shape[:2], generator=generator), batch.device)
    return (low + (high - low) * draws).reshape(*draws.shape, *[1] * (batch.ndim - 2))


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Random numbers drawn on the CPU, moved to `device` without waiting for a busy GPU."""
    if device.type != "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """The share of `predictions` equal to `labels` (ACC)."""
    return float((predictions == labels).double().mean())
