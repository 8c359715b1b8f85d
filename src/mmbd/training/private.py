"""Differentially private training, DP-SGD (Abadi et al. 2016; paper, section 6.4).

Every sample's gradient is scaled down to at most `bound` in norm, Gaussian noise of `noise * bound`
an element joins their sum, and the sum is divided by the batch size. Opacus works out the gradients
sample by sample; the loop is `train.fit`, with everything a recipe says.

The paper's noise of 0.1 gives no privacy worth the name: it is the bound that changes what a
network learns. For the same reason batches are drawn as `train.fit` draws them, not sample by
sample, and nothing here counts a privacy budget.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mmbd import nets
from mmbd.base.extras import require
from mmbd.model.forward import device_of
from mmbd.training import loop as train

BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm


def fit(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: train.Recipe,
    *,
    seed: int,
    noise: float = 0.1,
    bound: float = 2.0,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    on_step: Callable[[], None] | None = None,
    **options: Any,
) -> None:
    """Train as `train.fit` does, but by DP-SGD.

    Args:
        network: trained in place; in eval mode afterwards. It must treat samples one by one.
        inputs: (n, ...), see `scaled`.
        labels: (n,) int64.
        recipe: how to train.
        seed: of the order, the augmentation and the noise.
        noise: standard deviation of the noise as a multiple of `bound` (paper: sigma = 0.1).
        bound: the largest norm that a sample's gradient keeps (paper: C = 2.0).
        penalty: refused: a term that belongs to no sample cannot be bounded by sample.
        on_step: as in `train.fit`.
        options: for `train.fit`.

    Raises:
        ImportError: Opacus is not installed.
        ValueError: the network has batch normalisation, a penalty is asked for, the recipe clips,
            or noise or bound are out of range.
    """
    if not bound > 0 or not noise >= 0:
        raise ValueError(f"expected bound > 0 and noise >= 0, got {bound} and {noise}")
    if penalty is not None:
        raise ValueError("a penalty on the loss cannot be trained privately: it has no samples")
    if recipe.clip is not None:
        raise ValueError("the recipe's clip has no place here: bound clips each sample's gradient")
    refuse_batch_norm(network)
    size = min(recipe.batch, len(labels))
    noises = torch.Generator(device_of(network)).manual_seed(seed)
    with _private(network, size, noise, bound, noises) as (wrapped, clear):

        def after() -> None:
            clear()
            if on_step is not None:
                on_step()

        recipe = replace(recipe, compile="never")  # hooks compute each sample's gradient
        train.fit(wrapped, inputs, labels, recipe, seed=seed, on_step=after, **options)


def refuse_batch_norm(network: nn.Module) -> None:
    """ValueError if samples of a batch share statistics, so that none has a gradient of its own."""
    for place, module in network.named_modules():
        if isinstance(module, BATCH_NORMS):
            grouped = [name for name, row in nets.ARCHITECTURES.items() if "normalisation" in row.defaults]
            raise ValueError(
                f"{place or 'the network'} is a {type(module).__name__}, which mixes the samples of "
                "a batch: they have no gradients of their own. Of the built-in architectures, "
                f'{", ".join(grouped)} train privately with normalisation="group", lenet and mlp '
                "as they are"
            )


@contextmanager
def _private(
    network: nn.Module, batch: int, noise: float, bound: float, generator: torch.Generator
) -> Generator[tuple[nn.Module, Callable[[], None]]]:
    """The network with gradients by sample, and what forgets them after a step.

    Whatever optimiser is about to step on the network's weights finds private gradients there.
    """
    wrapped = require("opacus", extra="private").GradSampleModule(network)
    wrapped.register_forward_pre_hook(_with_gradient)
    handles = [
        module.register_forward_pre_hook(_contiguous)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    ]
    optimizers = require("opacus.optimizers", extra="private")
    weight = next(network.parameters())
    made: list[Any] = []

    def privatise(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if optimizer.param_groups[0]["params"][0] is not weight:
            return  # somebody else's
        if not made:
            made.append(
                optimizers.DPOptimizer(
                    optimizer,
                    noise_multiplier=noise,
                    max_grad_norm=bound,
                    expected_batch_size=batch,
                    generator=generator,
                )
            )
        made[0].pre_step()

    handles.append(register_optimizer_step_pre_hook(privatise))
    try:
        yield wrapped, lambda: made[0].zero_grad(set_to_none=True)
    finally:
        for handle in handles:
            handle.remove()
        wrapped.to_standard_module()
        for parameter in network.parameters():
            vars(parameter).pop("summed_grad", None)  # the one trace that Opacus leaves


def _with_gradient(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """The batch as something that gradients flow to: without it, torch warns of Opacus's hooks."""
    return inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()


def _contiguous(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """The batch in plain order: Opacus 1.6 reads the inputs of a convolution as if they were."""
    return inputs[0].contiguous()
